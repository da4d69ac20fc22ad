"""Spectrum, transfer function and observer against what is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

from ctdenoise.evaluation.observer import hotelling_auc, laguerre_gauss
from ctdenoise.evaluation.resolution import task_transfer_function
from ctdenoise.evaluation.texture import flat_patches, noise_power_spectrum, radial

SPACING = 0.7


def filtered_noise(transfer: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    white = rng.normal(0.0, 20.0, (count, *transfer.shape))
    return np.fft.ifft2(np.fft.fft2(white) * transfer).real


def test_nps_of_filtered_noise_is_the_filters() -> None:
    """|H|^2 sigma^2 times the pixel's area, ring by ring."""
    frequency = np.fft.fftfreq(64, SPACING)
    radius = np.hypot(frequency[:, None], frequency[None, :])
    transfer = radius * np.exp(-((radius / 0.5) ** 2)) * 5.0
    noise = filtered_noise(transfer, 400, np.random.default_rng(0))
    found = radial(noise_power_spectrum(list(noise), SPACING), SPACING)
    expected = radial(np.abs(transfer) ** 2 * 400.0 * SPACING**2, SPACING)
    np.testing.assert_allclose(found.power[3:24], expected.power[3:24], rtol=0.03)
    assert found.mean_frequency == pytest.approx(expected.mean_frequency, rel=0.03)
    assert found.peak_frequency == pytest.approx(expected.peak_frequency, abs=0.05)


def test_nps_holds_the_variance() -> None:
    patches = list(np.random.default_rng(1).normal(0.0, 20.0, (50, 32, 32)))
    spectrum = noise_power_spectrum(patches, SPACING)
    # A plane takes three of 1024 degrees of freedom.
    assert radial(spectrum, SPACING).variance == pytest.approx(400.0 * 1021 / 1024, rel=0.01)


def test_nps_does_not_see_a_plane() -> None:
    rows, columns = np.mgrid[:32, :32]
    assert noise_power_spectrum([3.0 * rows - columns + 40.0], SPACING).max() < 1e-18


def test_nps_needs_squares() -> None:
    with pytest.raises(ValueError, match="needs patches"):
        noise_power_spectrum([], SPACING)
    with pytest.raises(ValueError, match="squares of one size"):
        noise_power_spectrum([np.zeros((4, 5))], SPACING)


def test_flat_patches_lie_within_the_mask() -> None:
    mask = np.zeros((128, 128), dtype=bool)
    mask[10:90, 30:110] = True
    corners = flat_patches(mask)
    assert corners
    assert all(mask[t : t + 32, l : l + 32].all() for t, l in corners)  # noqa: E741


@pytest.mark.parametrize("sigma", [0.8, 1.5, 3.0])
@pytest.mark.parametrize("contrast", [-100.0, 30.0])
def test_ttf_of_a_gaussian_blur(sigma: float, contrast: float) -> None:
    """exp(-2 (pi f sigma)^2), to 2 %."""
    factor = 8
    rows, columns = np.mgrid[: 128 * factor, : 128 * factor] / factor + 0.5 / factor - 0.5
    fine = np.where(np.hypot(rows - 63.7, columns - 64.2) < 30.0, 40.0 + contrast, 40.0)
    blurred = gaussian_filter(fine, sigma * factor, mode="nearest")
    disc = blurred.reshape(128, factor, 128, factor)[:, factor // 2, :, factor // 2]
    offset = 0.5 / factor
    found = task_transfer_function(disc, (63.7 - offset, 64.2 - offset), 30.0, SPACING)
    expected = np.exp(-2.0 * (np.pi * found.frequency * sigma * SPACING) ** 2)
    np.testing.assert_allclose(found.value, expected, atol=0.02)
    assert found.half == pytest.approx(np.sqrt(np.log(2) / 2) / (np.pi * sigma * SPACING), rel=0.02)


def test_observer_on_gaussian_noise_is_the_closed_form() -> None:
    """White noise: the ideal AUC is Phi(d' / sqrt(2)), d' the norm of the signal in channels."""
    rng = np.random.default_rng(0)
    channels = laguerre_gauss(48, 20.0, channels=5)
    at = np.arange(48) - 23.5
    signal = 0.25 * np.exp(-(at[:, None] ** 2 + at[None, :] ** 2) / (2 * 6.0**2))
    absent, present = rng.normal(size=(2, 800, 48, 48))
    seen = np.linalg.lstsq(channels.reshape(5, -1).T, signal.ravel(), rcond=None)
    strength = np.sqrt(np.sum((channels.reshape(5, -1).T @ seen[0]) ** 2))
    expected = norm.cdf(strength / np.sqrt(2.0))
    found = hotelling_auc(present + signal, absent, channels)
    assert found.lower - 0.01 < expected < found.upper + 0.01
    assert found.upper - found.lower < 0.06
    nothing = hotelling_auc(present, absent, channels)
    assert nothing.lower < 0.5 < nothing.upper


def test_observer_needs_images() -> None:
    channels = laguerre_gauss(16, 8.0)
    with pytest.raises(ValueError, match="10 channels need 24 images"):
        hotelling_auc(np.zeros((10, 16, 16)), np.zeros((30, 16, 16)), channels)
