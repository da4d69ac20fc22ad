"""Noise of a lower dose: how much, where, and with which spectrum."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import poisson
from skimage.transform import radon

from ctdenoise.hounsfield import tissue_masks
from ctdenoise.measured_noise import noise_level
from ctdenoise.noise.low_dose import (
    Scan,
    calibrate,
    full_dose_noise,
    low_dose_noise,
    poisson_quantiles,
)
from ctdenoise.noise.projection import KERNELS, backproject, detectors, filter_views, project
from ctdenoise.series.pixels import read_image
from tests.conftest import SAMPLE

SPACING = 0.8
QUIET = Scan(electronic_noise=0.0, photons=3e5)


def water(size: int = 256) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A water cylinder of 160 mm in air, nothing padded, and its inside."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    radius = np.hypot(x, y) * SPACING
    return np.where(radius < 80, 0.0, -1000.0), np.zeros((size, size), bool), radius < 40


def noise(dose: float, scan: Scan = QUIET, seed: int = 0) -> np.ndarray:
    hu, padding, _ = water()
    rng = np.random.default_rng(seed)
    return low_dose_noise(hu, padding, spacing=SPACING, dose=dose, scan=scan, rng=rng)


def test_projection_agrees_with_scikit_image() -> None:
    y, x = np.mgrid[:128, :128]
    image = (((y - 50) / 30) ** 2 + ((x - 70) / 20) ** 2 < 1).astype(float)
    ours = project(torch.from_numpy(image), 180).numpy().T
    theirs = radon(image, np.arange(180.0), circle=False)
    first = (len(ours) - len(theirs)) // 2
    ours = np.roll(ours[first : first + len(theirs)][::-1, ::-1], 1, axis=1)
    assert np.abs(ours - theirs).mean() < 0.05 * theirs.mean()
    np.testing.assert_allclose(ours.sum(0), image.sum(), rtol=0.02)


def test_filtered_back_projection_gives_the_image_back() -> None:
    hu, _, inside = water()
    image = 1.0 + hu / 1000.0
    sinogram = project(torch.from_numpy(image), 360)
    again = backproject(filter_views(sinogram, "hann"), image.shape).numpy()
    assert again[inside].mean() == pytest.approx(1.0, abs=0.02)
    assert again[:20, :20].mean() == pytest.approx(0.0, abs=0.02)


@pytest.mark.parametrize("shape", [(100, 60), (61, 100)])
def test_projection_of_any_shape_keeps_the_sum(shape: tuple[int, int]) -> None:
    y, x = (np.arange(n) - (n - 1) / 2 for n in shape)
    image = (np.hypot(y[:, None] + 4, x[None, :] - 6) < 20).astype(float)
    sums = project(torch.from_numpy(image), 90).numpy().sum(1)
    np.testing.assert_allclose(sums, image.sum(), rtol=0.02)


@pytest.mark.parametrize("shape", [(32, 32), (33, 33), (24, 41), (40, 24)])
@pytest.mark.parametrize("count", [1, 2, 37, 38, 40])
def test_back_projection_is_the_sum_of_every_view(shape: tuple[int, int], count: int) -> None:
    size = detectors(shape)
    views = np.random.default_rng(0).standard_normal((count, size)).astype(np.float32)
    y, x = (np.arange(n) - (n - 1) / 2 for n in shape)
    expected = np.zeros(shape)
    for angle, view in zip(np.arange(count) * np.pi / count, views, strict=True):
        at = y[:, None] * np.sin(angle) + x[None, :] * np.cos(angle)
        expected += np.interp(at, np.arange(size) - (size - 1) / 2, view) * np.pi / count
    actual = backproject(torch.from_numpy(views), shape).numpy()
    np.testing.assert_allclose(actual, expected, atol=2e-5)


def test_poisson_quantiles_are_those_of_scipy() -> None:
    rank = (np.arange(256) + 0.5)[None, :] / 256
    expected = np.geomspace(1e-9, 1e7, 400)[:, None]
    assert np.array_equal(poisson_quantiles(rank, expected), poisson.ppf(rank, expected))


@pytest.mark.parametrize("dose", [0.5, 0.25, 0.1])
def test_total_noise_goes_with_one_over_the_root_of_the_dose(dose: float) -> None:
    hu, padding, inside = water()
    rng = np.random.default_rng(5)
    full = full_dose_noise(hu, padding, spacing=SPACING, scan=QUIET, rng=rng)[inside].std()
    total = np.hypot(full, noise(dose)[inside].std())
    assert total / full == pytest.approx(1.0 / np.sqrt(dose), rel=0.05)


def test_electronic_noise_counts_more_where_few_photons_arrive() -> None:
    _, _, inside = water()
    with_it = noise(0.05, Scan(photons=3e4, electronic_noise=30.0))[inside].std()
    without = noise(0.05, Scan(photons=3e4, electronic_noise=0.0))[inside].std()
    assert with_it > 1.2 * without


def test_same_seed_same_noise_and_full_dose_none() -> None:
    assert np.array_equal(noise(0.25), noise(0.25))
    assert not np.array_equal(noise(0.25), noise(0.25, seed=1))
    assert np.abs(noise(1.0)).max() == 0.0


def test_noise_does_not_depend_on_the_number_of_threads() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = noise(0.25)
        torch.set_num_threads(2)
        two = noise(0.25)
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(one, two)


@pytest.mark.parametrize("kernel", ["ramp", "hann"])
def test_spectrum_is_that_of_the_kernel(kernel: str) -> None:
    """Parallel-beam FBP of white noise: |f| A(f)^2, times the linear interpolation's sinc^4."""
    hu, padding = np.full((256, 256), -1000.0), np.zeros((256, 256), bool)
    scan = Scan(electronic_noise=0.0, kernel=kernel)
    rng = np.random.default_rng(0)
    samples = [
        full_dose_noise(hu, padding, spacing=SPACING, scan=scan, rng=rng)[64:192, 64:192]
        for _ in range(8)
    ]
    window = np.hanning(128)[:, None] * np.hanning(128)[None, :]
    power = np.mean([np.abs(np.fft.fft2(s * window)) ** 2 for s in samples], axis=0)
    f = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.fftfreq(128)[None, :])
    edges = np.linspace(0.06, 0.36, 8)
    measured = [power[(f >= a) & (f < b)].mean() for a, b in itertools.pairwise(edges)]
    response = KERNELS[kernel](torch.from_numpy(f)).numpy() * np.sinc(f) ** 2
    expected_power = f * response**2
    expected = [expected_power[(f >= a) & (f < b)].mean() for a, b in itertools.pairwise(edges)]
    ratio = np.array(measured) / np.array(expected)
    np.testing.assert_allclose(ratio / ratio.mean(), 1.0, atol=0.1)


def test_real_slice_gets_the_noise_of_the_dose_and_keeps_its_means() -> None:
    image = read_image(SAMPLE / "1-14.dcm")
    hu, padding = image.hu[0], image.padding[0]
    assert image.header is not None
    spacing = float(image.header.PixelSpacing[0])
    own = noise_level(hu, padding)
    assert own is not None
    scan = calibrate(Scan(electronic_noise=0.0), [(hu, padding)], spacing=spacing, noise=own)
    rng = np.random.default_rng(0)
    added = np.stack(
        [
            low_dose_noise(hu, padding, spacing=spacing, dose=0.5, scan=scan, rng=rng)
            for _ in range(6)
        ]
    )
    masks = tissue_masks(hu, padding)
    soft = masks["fat_and_soft_tissue"]
    assert np.hypot(own, added[:, soft].std()) == pytest.approx(np.sqrt(2.0) * own, rel=0.1)
    for name, mask in masks.items():
        assert abs(added[:, mask].mean()) < 0.5, name


@pytest.mark.parametrize("dose", [0.0, 1.5, np.nan])
def test_dose_out_of_range_is_said(dose: float) -> None:
    with pytest.raises(ValueError, match="dose must be"):
        noise(dose)


@pytest.mark.parametrize(
    "values", [{"kev": 20.0}, {"kernel": "b99"}, {"photons": 0.0}, {"electronic_noise": -1.0}]
)
def test_impossible_scan_is_said(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must|unknown kernel"):
        Scan(**values)
