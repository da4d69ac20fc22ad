"""The noise of CT slices, measured in them: how strong it is, and how correlated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter

from ctdenoise.hounsfield import AIR, HU, SOFT_TISSUE, TISSUE_CLASSES, Mask
from ctdenoise.smooth import (
    Map,
    block_statistics,
    block_sums,
    gaussian_mean,
    local_sums,
    refine,
)


@dataclass(frozen=True)
class MeasuredNoise:
    """Noise of a series in homogeneous soft tissue.

    Attributes:
        sigma: standard deviation in HU.
        correlation: between neighbouring pixels, the mean of rows and columns. Sharp kernels
            leave 0.1 to 0.3, soft ones 0.5 and more.
    """

    sigma: float
    correlation: float


def measure_noise(slices: Iterable[tuple[HU, Mask]]) -> MeasuredNoise | None:
    """Noise of a series from some of its slices, each with its padding.

    Returns:
        The medians over the slices that have enough soft tissue, or None where none has.
    """
    found = []
    for hu, padding in slices:
        patches = _Patches.of(hu, padding)
        sigma = _mode_of_sigma(patches)
        if sigma is not None:
            found.append((sigma, _correlation(patches, sigma)))
    if not found:
        return None
    sigma, correlation = np.median(found, axis=0)
    return MeasuredNoise(float(sigma), float(correlation))


def noise_level(hu: HU, padding: Mask) -> float | None:
    """Standard deviation of the noise in homogeneous soft tissue, in HU.

    The mode of the histogram of local standard deviations, which holds for correlated noise
    as well, since nothing is assumed of its spectrum.

    Args:
        hu: one slice (H, W).
        padding: pixels that are no image.

    Returns:
        The noise in HU, or None where there is too little soft tissue to say.

    Source: Christianson et al., "Automated technique to measure noise in clinical CT
    examinations", AJR 205, 2015.
    """
    return _mode_of_sigma(_Patches.of(hu, padding))


def _mode_of_sigma(patches: _Patches) -> float | None:
    whole = local_sums(patches.padding, _NOISE_PATCH) == 0
    found = patches.sigma[patches.soft & (patches.sigma < 200.0) & whole]
    if found.size < 500:
        return None
    lowest, highest = np.percentile(found, [0.0, 90.0])
    if highest - lowest < 1e-6:
        return float(highest)
    counts, edges = np.histogram(found, bins=100, range=(lowest, highest))
    counts = uniform_filter(counts.astype(np.float64), 5)
    peak = int(np.argmax(counts))
    return float(0.5 * (edges[peak] + edges[peak + 1]))


def noise_correlation(hu: HU, padding: Mask, sigma: float) -> float:
    """Correlation of neighbouring pixels' noise in homogeneous soft tissue.

    Args:
        hu: one slice (H, W).
        padding: pixels that are no image.
        sigma: its :func:`noise_level`; where the local standard deviation is more than 1.2 of
            it, there is more than noise.

    Returns:
        The mean of rows and columns, in [-1, 1]; 0 without noise.
    """
    return _correlation(_Patches.of(hu, padding), sigma)


def _correlation(patches: _Patches, sigma: float) -> float:
    flat = patches.soft & (patches.sigma <= 1.2 * sigma) & ~patches.padding
    noise = patches.noise.astype(np.float64)
    power = np.mean(noise[flat] ** 2) if flat.any() else 0.0
    if power == 0.0:
        return 0.0
    products = [(noise * np.roll(noise, -1, axis))[flat].mean() for axis in (0, 1)]
    return float(np.clip(np.mean(products) / power, -1.0, 1.0))


def relative_noise(hu: HU, padding: Mask) -> Map | None:
    """How strong the noise is here, over what it typically is in the soft tissue of the slice.

    Told by homogeneous soft tissue nearby; where there is none, it is that of the next.

    Args:
        hu: one slice (H, W).
        padding: pixels that are no image.

    Returns:
        A smooth map (H, W), from 0.5 to 4, or None where there is too little soft tissue.
    """
    centred = (np.where(padding, AIR, hu) - SOFT_TISSUE).astype(np.float32)
    mean, sigma = block_statistics(centred, _BLOCK)
    lower, upper = (bound - SOFT_TISSUE for bound in TISSUE_CLASSES["fat_and_soft_tissue"])
    soft = (mean > lower) & (mean < upper) & (sigma > 0.0) & (sigma < 200.0)
    soft &= block_sums(padding, _BLOCK) == 0
    if np.count_nonzero(soft) < _LEAST_BLOCKS:
        return None
    level = np.log(np.maximum(sigma, 1e-3))
    typical = np.median(level[soft])
    flat = soft
    for _ in range(3):
        weight = flat.astype(np.float32)
        total = _FAITH * typical + gaussian_mean(weight * level, _BLOCKS_AROUND)
        around = total / (_FAITH + gaussian_mean(weight, _BLOCKS_AROUND))
        # What is well above that of its surroundings has an edge in it.
        flat = soft & (level < around + 0.5)
    relative = np.exp(np.clip(around - np.median(around[flat]), np.log(0.5), np.log(4.0)))
    return refine(relative, hu.shape, _BLOCK)


def series_noise_level(levels: Sequence[float | None]) -> float | None:
    """Noise of a series from that of its slices: the median of those that have one."""
    known = [level for level in levels if level is not None]
    return float(np.median(known)) if known else None


_NOISE_PATCH = 9

_BLOCK = 8
"""Side in pixels of the blocks in which the noise is told from place to place."""

_BLOCKS_AROUND = 3.0
"""Standard deviation, in blocks, of the mean over the blocks around."""

_LEAST_BLOCKS = 30
_FAITH = 0.02
"""Weight of the typical noise against that of the blocks around."""


@dataclass(frozen=True)
class _Patches:
    """Statistics of the pixels around each of a slice (H, W).

    Attributes:
        noise: HU less their local mean.
        sigma: local standard deviation in HU.
        soft: where the mean is that of soft tissue.
        padding: pixels that are no image.
    """

    noise: Map
    sigma: Map
    soft: Mask
    padding: Mask

    @classmethod
    def of(cls, hu: HU, padding: Mask) -> _Patches:
        # About soft tissue, single precision is enough, and takes a third of the time: it is exact
        # for whole HU, and what it adds to fractional ones is below 0.1 HU.
        shifted = (np.where(padding, AIR, hu) - SOFT_TISSUE).astype(np.float32)
        count = _NOISE_PATCH**2
        mean = local_sums(shifted, _NOISE_PATCH) / np.float32(count)
        square = local_sums(shifted * shifted, _NOISE_PATCH) / np.float32(count)
        variance = np.maximum(square - mean * mean, 0.0) * np.float32(count / (count - 1))
        lower, upper = (bound - SOFT_TISSUE for bound in TISSUE_CLASSES["fat_and_soft_tissue"])
        soft = (mean > lower) & (mean < upper)
        return cls(shifted - mean, np.sqrt(variance), soft, padding)
