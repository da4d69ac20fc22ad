"""Noise and mean HU by tissue class, before and after, gathered slice by slice."""

from __future__ import annotations

import numpy as np

from ctdenoise.hounsfield import AIR, HU, TISSUE_CLASSES, Mask
from ctdenoise.measured_noise import noise_level, series_noise_level
from ctdenoise.series.model import spread
from ctdenoise.smooth import local_sums

NOISE_SLICES = 32
"""Slices, spread over a series, in which its noise is measured; the change is of them all."""

_SIDE = 5
"""Of the neighbourhood that tells a tissue, as in :func:`ctdenoise.hounsfield.tissue_masks`, which
takes ten times as long."""


class ChangeStatistics:
    """Running figures of a series; memory does not grow with its slices.

    Args:
        slices: of the series.
    """

    def __init__(self, slices: int) -> None:
        self._slices = slices
        self._measured = frozenset(spread(slices, NOISE_SLICES))
        self._before: list[float | None] = []
        self._after: list[float | None] = []
        self._change = dict.fromkeys(TISSUE_CLASSES, 0.0)
        self._pixels = dict.fromkeys(TISSUE_CLASSES, 0)

    def add(self, place: int, before: HU, after: HU, padding: Mask) -> None:
        """Take in the slice (H, W) at a place, from 0, in the series."""
        if place in self._measured:
            self._before.append(noise_level(before, padding))
            self._after.append(noise_level(after, padding))
        total = local_sums(np.where(padding, AIR, before), _SIDE)
        change, native = after - before, ~padding
        for name, (lower, upper) in TISSUE_CLASSES.items():
            mask = (total >= lower * _SIDE**2) & (total < upper * _SIDE**2) & native
            self._change[name] += float(change[mask].sum())
            self._pixels[name] += int(np.count_nonzero(mask))

    def merge(self, other: ChangeStatistics) -> None:
        """Take in what another has gathered of the same series."""
        self._before += other._before
        self._after += other._after
        for name in TISSUE_CLASSES:
            self._change[name] += other._change[name]
            self._pixels[name] += other._pixels[name]

    def empty(self) -> ChangeStatistics:
        """Of the same series, without what was gathered."""
        return ChangeStatistics(self._slices)

    @property
    def noise_before(self) -> float | None:
        return series_noise_level(self._before)

    @property
    def noise_after(self) -> float | None:
        return series_noise_level(self._after)

    @property
    def hu_change(self) -> dict[str, float | None]:
        """Mean change in HU of each tissue class, None without a pixel of it."""
        return {
            name: self._change[name] / pixels if pixels else None
            for name, pixels in self._pixels.items()
        }
