"""Smooth maps over a slice, made fast: Gaussian means, local medians, coarse grids made fine."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft
from scipy.ndimage import median_filter

Map = NDArray[np.float32]

_REACH = 4.0
"""Standard deviations after which a Gaussian ends."""


def gaussian_mean(image: Map, sigma: float) -> Map:
    """Gaussian mean of an image (H, W), whose border pixels go on beyond it.

    By Fourier transform, which takes the same time for any ``sigma``.
    """
    margin = int(np.ceil(_REACH * sigma))
    height, width = (fft.next_fast_len(n + 2 * margin, real=True) for n in image.shape)
    after = (height - image.shape[0] - margin, width - image.shape[1] - margin)
    padded = np.pad(image, ((margin, after[0]), (margin, after[1])), mode="edge")
    spectrum = fft.rfft2(padded.astype(np.float32, copy=False))
    spectrum *= _gaussian_response(height, width, sigma)
    mean = fft.irfft2(spectrum, s=(height, width))
    return np.asarray(
        mean[margin : margin + image.shape[0], margin : margin + image.shape[1]], dtype=np.float32
    )


@lru_cache(maxsize=8)
def _gaussian_response(height: int, width: int, sigma: float) -> Map:
    down, across = fft.fftfreq(height)[:, None], fft.rfftfreq(width)[None, :]
    response = np.exp(-2.0 * (np.pi * sigma) ** 2 * (down**2 + across**2))
    return np.asarray(response, dtype=np.float32)


def local_median(image: Map, *, step: int, size: int) -> Map:
    """Median of every ``step``-th pixel over ``size`` x ``size`` of them, made fine again."""
    top, left = (min(step, n) // 2 for n in image.shape)
    coarse = median_filter(image[top::step, left::step], size=size, mode="nearest")
    return refine(coarse, image.shape, step)


def local_sums(image: NDArray[Any], side: int) -> Map:
    """Sums over ``side`` x ``side`` pixels around each of an image (H, W); ``side`` is odd.

    Border pixels go on beyond it. Of whole numbers it is exact as long as the sums are below 2^24.
    """
    height, width = image.shape
    padded = np.pad(image.astype(np.float32, copy=False), side // 2, mode="edge")
    rows = padded[:height].copy()
    for shift in range(1, side):
        rows += padded[shift : shift + height]
    total = rows[:, :width].copy()
    for shift in range(1, side):
        total += rows[:, shift : shift + width]
    return np.asarray(total)


def block_sums(image: NDArray[Any], size: int) -> NDArray[Any]:
    """Sums of blocks of ``size`` x ``size`` pixels; what is over is left."""
    rows, columns = (n // size for n in image.shape)
    # Rows first, which lie side by side: the rest is little.
    lines = image[: rows * size, : columns * size].reshape(rows, size, columns * size).sum(1)
    return np.asarray(lines.reshape(rows, columns, size).sum(2))


def block_statistics(image: Map, size: int) -> tuple[Map, Map]:
    """Mean and standard deviation of blocks of ``size`` x ``size`` pixels."""
    count = size * size
    mean = block_sums(image, size) / np.float32(count)
    apart = image.copy()
    rows, columns = (n * size for n in mean.shape)
    apart[:rows, :columns] -= mean.repeat(size, 0).repeat(size, 1)
    variance = block_sums(apart * apart, size) / np.float32(count - 1)
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32)


def refine(coarse: NDArray[np.floating], shape: tuple[int, ...], step: int) -> Map:
    """A grid, whose values are in the middles of blocks of ``step`` pixels, at every pixel (H, W).

    Linear between them, and constant beyond the outermost.
    """
    # Not as products of matrices: the threads of OpenBLAS would then wait for more of them, each
    # keeping a core busy for a while that a network could use.
    columns = _between(coarse.astype(np.float32).T, shape[1], step)
    return _between(np.ascontiguousarray(columns.T), shape[0], step)


def _between(nodes: Map, pixels: int, step: int) -> Map:
    """Linear between the rows of (nodes, n), which are ``step`` pixels apart: (pixels, n)."""
    below, above, weight = _neighbours(pixels, len(nodes), step)
    fine = nodes[above]
    fine -= nodes[below]
    fine *= weight
    fine += nodes[below]
    return fine


@lru_cache(maxsize=16)
def _neighbours(
    pixels: int, nodes: int, step: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], Map]:
    """For each pixel, the nodes before and behind it, and the weight (pixels, 1) of the latter."""
    at = np.clip((np.arange(pixels) + 0.5) / step - 0.5, 0.0, nodes - 1)
    below = at.astype(np.intp)
    weight = (at - below).astype(np.float32)[:, None]
    return below, np.minimum(below + 1, nodes - 1), weight
