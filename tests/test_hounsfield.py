"""Windows, levels and noise, as properties and against known noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.signal import sepfir2d

from ctdenoise.hounsfield import HUWindow, tissue_masks
from ctdenoise.measured_noise import (
    measure_noise,
    noise_correlation,
    noise_level,
    series_noise_level,
)
from ctdenoise.noise import correlated_noise

bounds = st.floats(-4000, 4000)
windows = st.tuples(bounds, st.floats(1, 5000)).map(lambda w: HUWindow(w[0], w[0] + w[1]))
slices = arrays(np.float64, (1, 4, 4), elements=st.floats(-5000, 40000))


@given(windows, slices)
def test_window_can_be_undone_for_any_hu(window: HUWindow, hu: np.ndarray) -> None:
    np.testing.assert_allclose(window.from_unit(window.to_unit(hu)), hu, atol=1e-8)


@given(windows)
def test_window_maps_its_bounds_to_zero_and_one(window: HUWindow) -> None:
    unit = window.to_unit(np.array([window.lower, window.upper]))
    np.testing.assert_allclose(unit, [0.0, 1.0], atol=1e-9)


@pytest.mark.parametrize("bad", [(0, 0), (1, 0), (np.nan, 1), (0, np.inf)])
def test_impossible_windows_are_refused(bad: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="LOWER < UPPER"):
        HUWindow(*bad)


@pytest.mark.parametrize("sigma", [5.0, 20.0, 60.0])
@pytest.mark.parametrize("correlation", [0.0, 0.7])
def test_noise_level_of_known_noise(sigma: float, correlation: float) -> None:
    rng = np.random.default_rng(0)
    phantom = np.full((256, 256), 40.0)
    phantom[:64] = -1000.0
    phantom[200:, :100] = 700.0
    noisy = phantom + correlated_noise(phantom.shape, sigma, rng, correlation=correlation)
    measured = noise_level(noisy, np.zeros(phantom.shape, dtype=bool))
    assert measured == pytest.approx(sigma, rel=0.1)


def test_noise_level_without_tissue_is_unknown() -> None:
    air = np.random.default_rng(0).normal(-1000.0, 10.0, (128, 128))
    assert noise_level(air, np.zeros(air.shape, dtype=bool)) is None
    tissue = air + 1040.0
    assert noise_level(tissue, np.ones(air.shape, dtype=bool)) is None
    assert noise_level(np.full((64, 64), 40.0), np.zeros((64, 64), dtype=bool)) == 0.0


@pytest.mark.parametrize("kernel", [[0, 1, 0], [1, 4, 1], [1, 2, 1]])
def test_correlation_of_known_noise(kernel: list[float]) -> None:
    """White noise after a filter correlates as the filter does with itself."""
    expected = np.correlate(kernel, kernel, "full")[3] / np.dot(kernel, kernel)
    rng = np.random.default_rng(0)
    noise = sepfir2d(rng.normal(size=(256, 256)), kernel, kernel)
    noisy = 40.0 + 20.0 * noise / noise.std()
    noisy[:64] = -1000.0
    padding = np.zeros(noisy.shape, dtype=bool)
    assert noise_correlation(noisy, padding, 20.0) == pytest.approx(expected, abs=0.05)
    measured = measure_noise([(noisy, padding), (noisy * 0.0 - 1000.0, padding)])
    assert measured is not None
    assert measured.sigma == pytest.approx(20.0, rel=0.1)
    assert noise_correlation(np.full((64, 64), 40.0), padding[:64, :64], 0.0) == 0.0
    assert measure_noise([(noisy * 0.0 - 1000.0, padding)]) is None


def test_noise_of_a_series_is_that_of_its_typical_slice() -> None:
    assert series_noise_level([None, 10.0, 11.0, 90.0]) == 11.0
    assert series_noise_level([None]) is None


def test_tissue_is_told_by_the_local_mean() -> None:
    rng = np.random.default_rng(0)
    hu = np.full((128, 128), 40.0) + rng.normal(0.0, 60.0, (128, 128))
    padding = np.zeros(hu.shape, dtype=bool)
    padding[:10] = True
    masks = tissue_masks(hu, padding)
    inner = (slice(20, -20), slice(20, -20))
    assert masks["fat_and_soft_tissue"][inner].mean() > 0.99
    assert not masks["fat_and_soft_tissue"][:10].any()
    assert abs(hu[masks["fat_and_soft_tissue"]].mean() - 40.0) < 1.5


@given(st.floats(0.3, 2.0), st.floats(1.0, 100.0))
def test_gaussian_noise_has_the_asked_sigma(correlation: float, sigma: float) -> None:
    noise = correlated_noise((512, 512), sigma, np.random.default_rng(1), correlation=correlation)
    assert noise.std() == pytest.approx(sigma, rel=0.05)
