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
    down, across = (_interpolation(n, m, step) for n, m in zip(shape, coarse.shape, strict=True))
    return np.asarray(down @ coarse.astype(np.float32) @ across.T)


@lru_cache(maxsize=16)
def _interpolation(pixels: int, nodes: int, step: int) -> Map:
    at = (np.arange(pixels) + 0.5) / step - 0.5
    at = np.clip(at, 0.0, nodes - 1)
    below = np.minimum(at.astype(int), max(nodes - 2, 0))
    matrix = np.zeros((pixels, nodes), dtype=np.float32)
    matrix[np.arange(pixels), below] = 1.0 - (at - below)
    if nodes > 1:
        matrix[np.arange(pixels), below + 1] += at - below
    return matrix
