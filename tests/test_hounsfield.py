"""Windows, levels and noise, as properties and against known noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.signal import sepfir2d

from ctdenoise.hounsfield import HUWindow, Level, tissue_masks
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


def level_of(window: HUWindow, preserved_scale: float = 0.0) -> Level:
    return Level(window, window.width, window.centre, preserved_scale)


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


@given(windows, slices, st.floats(0, 1))
def test_outside_the_window_and_padding_come_back_exactly(
    window: HUWindow, hu: np.ndarray, strength: float
) -> None:
    padding = np.zeros(hu.shape, dtype=bool)
    padding[0, 0] = True
    level = level_of(window)
    seen = level.to_network(hu, padding)
    out = level.from_network(hu, padding, seen, seen * 0.5 + 3.0, strength)
    untouched = padding | (hu <= window.lower) | (hu >= window.upper)
    np.testing.assert_array_equal(out[untouched], hu[untouched])


@given(windows, slices)
def test_strength_zero_is_identity_and_strength_is_linear(window: HUWindow, hu: np.ndarray) -> None:
    padding = np.zeros(hu.shape, dtype=bool)
    level = level_of(window)
    seen = level.to_network(hu, padding)
    denoised = seen * 0.5
    outs = [level.from_network(hu, padding, seen, denoised, s) for s in (0.0, 0.25, 1.0)]
    np.testing.assert_array_equal(outs[0], hu)
    np.testing.assert_allclose(outs[1], 0.75 * outs[0] + 0.25 * outs[2], atol=1e-6)


def test_wide_structures_are_preserved() -> None:
    """A network that removes everything takes a wide lesion away only where it is told to."""
    hu = np.full((1, 128, 128), 40.0)
    hu[0, 44:84, 44:84] += 10.0
    padding = np.zeros(hu.shape, dtype=bool)
    window = HUWindow(-500.0, 500.0)
    kept = []
    for scale in (0.0, 2.0):
        level = level_of(window, scale)
        seen = level.to_network(hu, padding)
        flat = np.full_like(seen, level.to_network(np.full((1, 1, 1), 40.0), padding[:, :1, :1]))
        out = level.from_network(hu, padding, seen, flat, 1.0)
        kept.append(out[0, 64, 64] - 40.0)
    assert kept == pytest.approx([0.0, 10.0], abs=0.01)


def test_no_step_at_the_edges_of_the_window() -> None:
    level = level_of(HUWindow(-160.0, 240.0))
    hu = np.linspace(-400.0, 400.0, 80001).reshape(1, 1, -1)
    padding = np.zeros(hu.shape, dtype=bool)
    seen = level.to_network(hu, padding)
    out = level.from_network(hu, padding, seen, seen + np.float32(0.1), 1.0)
    assert np.abs(np.diff(out - hu)).max() < 0.1


def test_bounded_level_gives_the_network_zero_to_one() -> None:
    level = level_of(HUWindow(-1024.0, 3072.0))
    hu = np.array([[[-3024.0, -1024.0, 1024.0, 3072.0, 30000.0]]])
    seen = level.to_network(hu, np.zeros(hu.shape, dtype=bool))
    np.testing.assert_allclose(seen, [[[0.0, 0.0, 0.5, 1.0, 1.0]]])


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


def test_removal_is_bounded_where_it_stands_out() -> None:
    """A vessel that was taken for noise comes back in part; the noise around it does not."""
    rng = np.random.default_rng(0)
    noise = correlated_noise((128, 128), 20.0, rng, correlation=0.7).astype(float)
    vessel = np.zeros((128, 128))
    vessel[60:64, 60:64] = 300.0
    hu = (noise + vessel)[None]
    padding = np.zeros(hu.shape, bool)
    window = HUWindow(-1500.0, 4500.0)
    free, bound = (Level(window, 400.0, 40.0, 0.0, limit) for limit in (0.0, 1.5))
    seen = free.to_network(hu, padding)
    everything_flat = np.full_like(seen, free.to_network(np.zeros_like(hu), padding)[0, 0, 0])
    assert np.abs(free.from_network(hu, padding, seen, everything_flat, 1.0)).max() < 1e-3
    kept = bound.from_network(hu, padding, seen, everything_flat, 1.0)[0]
    assert kept[60:64, 60:64].mean() > 200.0
    around = np.hypot(*(np.mgrid[:128, :128] - 62)) > 15
    assert kept[around].std() < 0.2 * noise[around].std()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 3), st.sampled_from([1, 2, 3]))
def test_stride_takes_slices_apart_and_together_again(h: int, w: int, n: int, stride: int) -> None:
    hu = np.random.default_rng(0).normal(0.0, 100.0, (n, h, w))
    padding = np.zeros(hu.shape, dtype=bool)
    level = Level(HUWindow(-1500.0, 4500.0), 400.0, 40.0, stride=stride)
    seen = level.to_network(hu, padding)
    assert seen.shape == (n * stride**2, -(-h // stride), -(-w // stride))
    plain = Level(HUWindow(-1500.0, 4500.0), 400.0, 40.0).to_network(hu, padding)
    for i, part in enumerate(seen[: stride**2]):
        expected = plain[0, i // stride :: stride, i % stride :: stride]
        np.testing.assert_array_equal(part[: len(expected), : expected.shape[1]], expected)
    np.testing.assert_array_equal(level.from_network(hu, padding, seen, seen, 1.0), hu)
    halved = level.from_network(hu, padding, seen, seen * 0.5, 1.0)
    np.testing.assert_allclose(halved, hu - 0.5 * 400.0 * plain, atol=1e-3)
