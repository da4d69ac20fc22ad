"""What the embedded model may do to HU, and what not, through the public interface."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from ctdenoise.cli import main
from ctdenoise.denoiser import Denoiser, match_level
from ctdenoise.level import Level
from ctdenoise.measured_noise import MeasuredNoise
from ctdenoise.models.registry import load
from ctdenoise.noise import correlated_noise
from ctdenoise.series.pixels import read_image
from pipelines.lcd_phantom import denoise_as_a_series, inside, read_raw
from tests.conftest import SAMPLE

Record = Callable[[str, object], None]

TOLERANCE = 0.01
"""HU, before rounding: sums of a convolution may be taken in another order. Measured: 0.0002."""


@pytest.fixture(scope="module")
def lite() -> Denoiser:
    return Denoiser(load("lite"), device="cpu", batch_size=1)


def level(lite: Denoiser, sigma: float = 30.0, correlation: float = 0.0) -> Level:
    return match_level(lite.card, MeasuredNoise(sigma, correlation))


def chest(count: int = 3) -> np.ndarray:
    """Slices (N, 128, 128) with lung, bone and soft tissue."""
    paths = sorted(SAMPLE.glob("*.dcm"))[:count]
    return np.concatenate([read_image(path).hu[:, 192:320, 192:320] for path in paths])


@st.composite
def slices(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Blocks of any HU with noise of any strength (N, H, W), and padding."""
    count, height, width = draw(st.tuples(st.integers(1, 3), *[st.integers(3, 48)] * 2))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    blocks = rng.uniform(draw(st.sampled_from([-1024.0, -100.0])), 3071.0, (count, 4, 4))
    hu = np.repeat(np.repeat(blocks, 12, axis=1), 12, axis=2)[:, :height, :width]
    hu = hu + rng.normal(0.0, draw(st.floats(0.0, 200.0)), hu.shape)
    return hu, rng.random(hu.shape) < draw(st.sampled_from([0.0, 0.2, 1.0]))


@settings(max_examples=12)
@given(slices(), st.floats(0.0, 1.0), st.floats(1.0, 100.0), st.sampled_from([0.0, 0.9]))
def test_strength_is_linear_and_padding_is_exact(
    lite: Denoiser,
    image: tuple[np.ndarray, np.ndarray],
    strength: float,
    sigma: float,
    correlation: float,
) -> None:
    hu, padding = image
    at = level(lite, sigma, correlation)
    full = lite(hu, padding, at)
    np.testing.assert_array_equal(lite(hu, padding, at, strength=0.0), hu)
    blended = lite(hu, padding, at, strength=strength)
    np.testing.assert_allclose(blended, hu + strength * (full - hu), atol=TOLERANCE)
    np.testing.assert_array_equal(full[padding], hu[padding])


@settings(max_examples=8)
@given(slices(), st.randoms(use_true_random=False))
def test_order_and_batch_size_change_no_pixel(
    lite: Denoiser, image: tuple[np.ndarray, np.ndarray], random: object
) -> None:
    hu, padding = image
    at = level(lite)
    alone = np.concatenate([lite(hu[i : i + 1], padding[i : i + 1], at) for i in range(len(hu))])
    order = np.random.default_rng(random.randrange(2**32)).permutation(len(hu))  # type: ignore[attr-defined]
    together = np.empty_like(hu)
    lite.batch_size = len(hu)
    try:
        together[order] = lite(hu[order], padding[order], at)
    finally:
        lite.batch_size = 1
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)


def test_batch_size_is_lost_in_rounding(lite: Denoiser, record_property: Record) -> None:
    hu = chest(5)
    padding, at = np.zeros(hu.shape, dtype=bool), level(lite, 38.0)
    alone = lite(hu, padding, at)
    lite.batch_size = 5
    try:
        off = np.abs(lite(hu[::-1], padding, at)[::-1] - alone).max()
    finally:
        lite.batch_size = 1
    assert off < TOLERANCE
    record_property(
        "reliability: slices in another order and batch: largest difference before rounding, HU",
        f"{off:.1g}",
    )


def run_lite(source: Path, output: Path) -> list[pydicom.Dataset]:
    assert main(["run", "--input", str(source), "--output", str(output), "--quiet"]) == 0
    return [pydicom.dcmread(path) for path in sorted(output.rglob("*.dcm"))]


def small(folder: Path, shift: int = 0, bits: int = 16) -> Path:
    """Two slices of 128 x 128, stored ``shift`` higher at an intercept that is as much lower."""
    folder.mkdir()
    for path in sorted(SAMPLE.glob("*.dcm"))[:2]:
        dataset = pydicom.dcmread(path)
        pixels = dataset.pixel_array[192:320, 192:320] + np.uint16(shift)
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.RescaleIntercept = float(dataset.RescaleIntercept) - shift
        dataset.BitsStored, dataset.HighBit = bits, bits - 1
        dataset.PixelData = np.minimum(pixels, 2**bits - 1).astype("<u2").tobytes()
        dataset.save_as(folder / path.name)
    return folder


def test_intercept_is_undone_exactly(tmp_path: Path) -> None:
    """The same HU by other stored values: the output is as much higher, every pixel."""
    plain = run_lite(small(tmp_path / "plain"), tmp_path / "a")
    shifted = run_lite(small(tmp_path / "shifted", shift=500), tmp_path / "b")
    for one, other in zip(plain, shifted, strict=True):
        # But for what the first cannot store.
        np.testing.assert_array_equal(one.pixel_array + 500, np.maximum(other.pixel_array, 500))


def test_output_stays_in_the_stored_range(tmp_path: Path) -> None:
    """Eleven bits, which the sample exceeds: what is clipped in the source is where it would."""
    source = small(tmp_path / "in", bits=11)
    before = [pydicom.dcmread(path).pixel_array for path in sorted(source.iterdir())]
    assert max(pixels.max() for pixels in before) > 1900
    for derived, pixels in zip(run_lite(source, tmp_path / "out"), before, strict=True):
        assert derived.BitsStored == 11
        assert derived.pixel_array.max() < 2**11
        assert np.any(derived.pixel_array != pixels)


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_what_a_shift_of_all_hu_changes_is_bounded(
    lite: Denoiser, correlation: float, record_property: Record
) -> None:
    """A network is no linear filter: at other HU it takes the same noise for a little other."""
    hu = chest(1)
    padding, at = np.zeros(hu.shape, dtype=bool), level(lite, 38.0, correlation)
    before = lite(hu, padding, at)
    change = np.sqrt(np.mean((before - hu) ** 2))
    for shift in (-24.0, 1.0, 100.0):
        off = lite(hu + shift, padding, at) - shift - before
        assert abs(off.mean()) < 0.5
        share = np.sqrt(np.mean(off**2)) / change
        assert share < 0.3
        record_property(
            f"reliability: HU shifted by {shift:+g}, correlation {correlation:g}: RMS off, of the "
            "RMS of the change",
            f"{share:.3f}",
        )


@pytest.mark.parametrize("correlation", [0.0, 0.9])
@pytest.mark.parametrize("axis", [1, 2])
def test_a_flipped_image_gives_nearly_the_flipped_output(
    lite: Denoiser, axis: int, correlation: float, record_property: Record
) -> None:
    hu = chest(1)
    padding, at = np.zeros(hu.shape, dtype=bool), level(lite, 38.0, correlation)
    before = lite(hu, padding, at)
    flipped = np.flip(lite(np.ascontiguousarray(np.flip(hu, axis)), padding, at), axis)
    off, change = flipped - before, np.sqrt(np.mean((before - hu) ** 2))
    assert abs(off.mean()) < 0.1
    share = np.sqrt(np.mean(off**2)) / change
    assert share < 0.3
    record_property(
        f"reliability: flipped along {'rows' if axis == 1 else 'columns'}, correlation "
        f"{correlation:g}: RMS off, of the RMS of the change",
        f"{share:.3f}",
    )


def spectrum(image: np.ndarray) -> np.ndarray:
    """Mean power by spatial frequency, in rings."""
    power = np.abs(np.fft.fft2(image - image.mean())) ** 2
    frequency = np.hypot(*np.meshgrid(*[np.fft.fftfreq(n) for n in image.shape], indexing="ij"))
    rings = np.minimum((frequency * 32).astype(int), 15).ravel()
    return np.bincount(rings, power.ravel()) / np.bincount(rings)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_noise_alone_gains_no_structure(
    lite: Denoiser, correlation: float, record_property: Record
) -> None:
    """Nothing is stronger than in the noise at any frequency, nothing is alike far apart."""
    sigma, worst = 20.0, 0.0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        noise = correlated_noise((128, 128), sigma, rng, correlation=correlation)
        padding = np.zeros((1, 128, 128), dtype=bool)
        after = lite(noise[None], padding, level(lite, sigma, correlation))[0]
        assert after.std() < 0.8 * noise.std()
        assert abs(after.mean() - noise.mean()) < 0.5
        assert np.abs(after).max() < np.abs(noise).max()
        assert np.all(spectrum(after) < 1.25 * spectrum(noise))
        power = np.abs(np.fft.fft2(after - after.mean())) ** 2
        alike = np.fft.ifft2(power).real / after.size / sigma**2
        row, column = np.meshgrid(*[np.fft.fftfreq(n, 1 / n) for n in after.shape], indexing="ij")
        far = np.hypot(row, column) > 12
        worst = max(worst, float(np.abs(alike[far]).max()))
    assert worst < 0.1
    record_property(
        f"reliability: noise of correlation {correlation:g}: largest autocovariance beyond 12 "
        "pixels, of the variance of the noise",
        f"{worst:.3f}",
    )


def test_faint_lesions_keep_contrast(shared: Path, lite: Denoiser, record_property: Record) -> None:
    """In the mean of ten slices of the low-contrast phantom, at each dose."""
    folder = shared / "data" / "ct" / "didsr_lcd_ct" / "fbp"
    truth = read_raw(folder / "ground_truth.raw")
    mask = inside(truth)
    found, count = label(mask & (truth > 1.5))
    background = mask & (truth < 0.5)
    kept = []
    for dose in ("010", "055", "100"):
        files = sorted((folder / f"dose_{dose}" / "signal_present").glob("*.raw"))
        noisy = np.stack([read_raw(path) for path in files])
        images = [noisy.mean(0), denoise_as_a_series(lite, noisy).mean(0)]
        for lesion in range(1, count + 1):
            before, after = (x[found == lesion].mean() - x[background].mean() for x in images)
            kept.append(after / before)
    assert min(kept) > 0.35
    assert np.mean(kept) > 0.6
    record_property(
        "reliability: contrast kept by lesions of 3 to 12 HU (LCD_CT)",
        f"{np.mean(kept):.0%} on average, {min(kept):.0%} at least",
    )
