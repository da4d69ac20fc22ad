"""Smooth maps against slower ways to the same."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter

from ctdenoise.smooth import local_sums, refine

SIDES = st.integers(1, 30)


@given(st.integers(0, 2**31), SIDES, SIDES, st.sampled_from([1, 3, 5, 9]))
def test_local_sums_of_whole_numbers(seed: int, height: int, width: int, side: int) -> None:
    image = np.random.default_rng(seed).integers(-1024, 3072, (height, width))
    expected = uniform_filter(image.astype(np.float64), side, mode="nearest") * side**2
    np.testing.assert_array_equal(local_sums(image, side), np.round(expected))


@given(st.integers(0, 2**31), SIDES, SIDES, st.sampled_from([1, 4, 8]))
def test_refine_is_linear_between_the_middles_of_blocks(
    seed: int, height: int, width: int, step: int
) -> None:
    nodes = tuple(max(1, -(-n // step)) for n in (height, width))
    coarse = np.random.default_rng(seed).normal(size=nodes).astype(np.float32)
    down, across = (
        np.array([np.interp((np.arange(n) + 0.5) / step - 0.5, range(m), row) for row in np.eye(m)])
        for n, m in zip((height, width), nodes, strict=True)
    )
    expected = down.T @ coarse.astype(np.float64) @ across
    np.testing.assert_allclose(refine(coarse, (height, width), step), expected, atol=1e-5)
