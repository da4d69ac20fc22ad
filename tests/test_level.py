"""Levels: what a network is shown of HU, and what comes back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter

from ctdenoise.hounsfield import HUWindow
from ctdenoise.level import Level
from ctdenoise.measured_noise import relative_noise
from ctdenoise.noise import correlated_noise
from ctdenoise.smooth import block_statistics, gaussian_mean, local_median, refine

bounds = st.floats(-4000, 4000)
windows = st.tuples(bounds, st.floats(1, 5000)).map(lambda w: HUWindow(w[0], w[0] + w[1]))
slices = arrays(np.float64, (1, 4, 4), elements=st.floats(-5000, 40000))


def level_of(window: HUWindow, preserved_scale: float = 0.0) -> Level:
    return Level(window, window.width, window.centre, preserved_scale)


@given(windows, slices, st.floats(0, 1))
def test_outside_the_window_and_padding_come_back_exactly(
    window: HUWindow, hu: np.ndarray, strength: float
) -> None:
    padding = np.zeros(hu.shape, dtype=bool)
    padding[0, 0] = True
    level = level_of(window)
    seen = level.to_network(hu, padding)
    out = level.from_network(hu, padding, seen, seen.images * 0.5 + 3.0, strength)
    untouched = padding | (hu <= window.lower) | (hu >= window.upper)
    np.testing.assert_array_equal(out[untouched], hu[untouched])


@given(windows, slices)
def test_strength_zero_is_identity_and_strength_is_linear(window: HUWindow, hu: np.ndarray) -> None:
    padding = np.zeros(hu.shape, dtype=bool)
    level = level_of(window)
    seen = level.to_network(hu, padding)
    denoised = seen.images * 0.5
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
        flat = np.full_like(
            seen.images, level.to_network(np.full((1, 1, 1), 40.0), padding[:, :1, :1]).images
        )
        out = level.from_network(hu, padding, seen, flat, 1.0)
        kept.append(out[0, 64, 64] - 40.0)
    assert kept == pytest.approx([0.0, 10.0], abs=0.01)


def test_no_step_at_the_edges_of_the_window() -> None:
    level = level_of(HUWindow(-160.0, 240.0))
    hu = np.linspace(-400.0, 400.0, 80001).reshape(1, 1, -1)
    padding = np.zeros(hu.shape, dtype=bool)
    seen = level.to_network(hu, padding)
    out = level.from_network(hu, padding, seen, seen.images + np.float32(0.1), 1.0)
    assert np.abs(np.diff(out - hu)).max() < 0.1


def test_bounded_level_gives_the_network_zero_to_one() -> None:
    level = level_of(HUWindow(-1024.0, 3072.0))
    hu = np.array([[[-3024.0, -1024.0, 1024.0, 3072.0, 30000.0]]])
    seen = level.to_network(hu, np.zeros(hu.shape, dtype=bool))
    np.testing.assert_allclose(seen.images, [[[0.0, 0.0, 0.5, 1.0, 1.0]]])


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
    everything_flat = np.full_like(
        seen.images, free.to_network(np.zeros_like(hu), padding).images[0, 0, 0]
    )
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
    assert seen.images.shape == (n * stride**2, -(-h // stride), -(-w // stride))
    plain = Level(HUWindow(-1500.0, 4500.0), 400.0, 40.0).to_network(hu, padding).images
    for i, part in enumerate(seen.images[: stride**2]):
        expected = plain[0, i // stride :: stride, i % stride :: stride]
        np.testing.assert_array_equal(part[: len(expected), : expected.shape[1]], expected)
    same = level.from_network(hu, padding, seen, seen.images, 1.0)
    np.testing.assert_array_equal(same, hu)
    halved = level.from_network(hu, padding, seen, seen.images * 0.5, 1.0)
    np.testing.assert_allclose(halved, hu - 0.5 * 400.0 * plain, atol=1e-3)


def uneven(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Soft tissue whose noise is three times as strong at the right as at the left, and a bone."""
    strength = np.exp(np.linspace(0.0, np.log(3.0), 256))[None, :].repeat(256, 0) * 12.0
    hu = 40.0 + strength * rng.normal(size=(256, 256))
    hu[100:130, 60:90] += 900.0
    return hu, strength


def test_noise_is_told_from_place_to_place() -> None:
    hu, strength = uneven(np.random.default_rng(0))
    padding = np.zeros(hu.shape, dtype=bool)
    padding[:, :16] = True
    hu[padding] = -2000.0
    relative = relative_noise(hu, padding)
    assert relative is not None
    expected = strength / np.median(strength)
    inner = (slice(8, -8), slice(40, -8))
    np.testing.assert_allclose(relative[inner], expected[inner], rtol=0.2)
    assert relative_noise(hu * 0.0 - 1000.0, padding) is None


def test_local_level_shows_the_same_noise_everywhere() -> None:
    hu, _ = uneven(np.random.default_rng(1))
    padding = np.zeros((1, *hu.shape), dtype=bool)
    spread = []
    for local in (False, True):
        level = Level(HUWindow(-1500.0, 4500.0), 200.0, 40.0, local=local)
        seen = level.to_network(hu[None], padding)
        noise = [seen.images[0, :, part].std() for part in (slice(8, 40), slice(-40, -8))]
        spread.append(noise[1] / noise[0])
        # What the network takes away comes back in HU, whatever the unit was there.
        flat = level.from_network(hu[None], padding, seen, np.full_like(seen.images, 0.5), 1.0)
        np.testing.assert_allclose(flat, 40.0, atol=1e-3)
    assert spread[0] > 2.0
    assert spread[1] == pytest.approx(1.0, abs=0.25)


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from([2.0, 2.5, 4.0]))
def test_gaussian_mean_is_that_of_scipy(height: int, width: int, sigma: float) -> None:
    image = np.random.default_rng(0).normal(0.0, 100.0, (height, width)).astype(np.float32)
    expected = gaussian_filter(image.astype(float), sigma, mode="nearest", truncate=7.0)
    np.testing.assert_allclose(gaussian_mean(image, sigma), expected, atol=0.05)


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([4, 8]))
def test_coarse_maps_have_the_size_of_the_image(height: int, width: int, step: int) -> None:
    image = np.full((height, width), 7.0, dtype=np.float32)
    np.testing.assert_allclose(local_median(image, step=step, size=5), image)
    mean, sigma = block_statistics(image, step)
    assert mean.shape == sigma.shape == (height // step, width // step)


def test_refining_is_linear_between_the_middles_of_blocks() -> None:
    coarse = np.array([[0.0, 8.0, 16.0]])
    expected = np.clip(np.arange(24) + 0.5 - 4.0, 0.0, 16.0)
    np.testing.assert_allclose(refine(coarse, (1, 24), 8)[0], expected, atol=1e-5)
