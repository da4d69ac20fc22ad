"""What the embedded model does to CT, which it has never seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ctdenoise.denoiser import Denoiser, match_level
from ctdenoise.hounsfield import tissue_masks
from ctdenoise.measured_noise import MeasuredNoise, measure_noise, noise_level
from ctdenoise.models.registry import embedded_path, load
from ctdenoise.series.pixels import read_image
from pipelines.lcd_phantom import denoise_as_a_series, inside, read_raw
from tests.conftest import SAMPLE

LCD = Path(__file__).parent / "data" / "lcd"


@pytest.fixture(scope="module")
def lite() -> Denoiser:
    return Denoiser(load("lite"), device="cpu")


def figures(lite: Denoiser, truth: np.ndarray, noisy: np.ndarray) -> tuple[float, float]:
    mask = inside(truth)
    denoised = denoise_as_a_series(lite, noisy)
    before, after = ((x - truth)[:, mask] for x in (noisy, denoised))
    return float(np.sqrt(np.mean(after**2) / np.mean(before**2))), float(after.mean())


@pytest.mark.parametrize("dose", ["010", "055", "100"])
def test_error_on_the_phantom_is_halved_without_bias(lite: Denoiser, dose: str) -> None:
    truth = read_raw(LCD / "ground_truth.raw")
    noisy = read_raw(LCD / f"dose_{dose}_001.raw")[None]
    ratio, bias = figures(lite, truth, noisy)
    assert ratio < 0.5
    assert abs(bias) < 2.0


@pytest.mark.parametrize("dose", ["010", "055", "100"])
def test_error_on_the_whole_phantom_set(shared: Path, lite: Denoiser, dose: str) -> None:
    folder = shared / "data" / "ct" / "didsr_lcd_ct" / "fbp"
    files = sorted((folder / f"dose_{dose}").rglob("*.raw"))
    assert len(files) == 20
    noisy = np.stack([read_raw(path) for path in files])
    ratio, bias = figures(lite, read_raw(folder / "ground_truth.raw"), noisy)
    assert ratio < 0.5
    assert abs(bias) < 2.0


def test_chest_loses_noise_and_keeps_its_hu(lite: Denoiser) -> None:
    source = read_image(SAMPLE / "1-14.dcm")
    before, padding = source.hu[0], source.padding[0]
    noise = measure_noise([(before, padding)])
    assert noise is not None
    after = lite(source.hu, source.padding, match_level(lite.card, noise))[0]
    left = noise_level(after, padding)
    assert left is not None
    assert left < 0.4 * noise.sigma
    for name, mask in tissue_masks(before, padding).items():
        assert abs(np.mean((after - before)[mask])) < 1.0, name


def test_uniform_water_stays_uniform(lite: Denoiser) -> None:
    water = np.zeros((1, 128, 128))
    padding = np.zeros(water.shape, dtype=bool)
    after = np.abs(lite(water, padding, match_level(lite.card, MeasuredNoise(20.0, 0.0))))
    assert after[0, 16:-16, 16:-16].max() < 1.0
    # Convolutions pad with zeros, which shows at the border of the image.
    assert after.max() < 3.0


def test_model_is_small_enough_to_embed() -> None:
    assert embedded_path("lite").stat().st_size < 25e6


def test_encoder_is_the_one_that_its_pretraining_made() -> None:
    """Frozen means frozen: the shipped encoder is the pre-trained one, bit for bit."""
    model = load("lite")
    assert model.card.training is not None
    from ctdenoise.models.files import digest

    assert digest(model.network.encoder.state_dict()) == model.card.training["encoder_sha256"]
