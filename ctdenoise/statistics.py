"""Noise and mean HU by tissue class, before and after, gathered slice by slice."""

from __future__ import annotations

import numpy as np

from ctdenoise.hounsfield import HU, TISSUE_CLASSES, Mask, tissue_masks
from ctdenoise.measured_noise import noise_level, series_noise_level


class ChangeStatistics:
    """Running figures of a series; memory does not grow with its slices."""

    def __init__(self) -> None:
        self._before: list[float | None] = []
        self._after: list[float | None] = []
        self._change = dict.fromkeys(TISSUE_CLASSES, 0.0)
        self._pixels = dict.fromkeys(TISSUE_CLASSES, 0)

    def add(self, before: HU, after: HU, padding: Mask) -> None:
        """Take in slices (F, H, W)."""
        for b, a, p in zip(before, after, padding, strict=True):
            self._before.append(noise_level(b, p))
            self._after.append(noise_level(a, p))
            for name, mask in tissue_masks(b, p).items():
                self._change[name] += float(np.sum(a[mask] - b[mask]))
                self._pixels[name] += int(np.count_nonzero(mask))

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
