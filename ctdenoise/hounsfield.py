"""Hounsfield units: windows and tissue classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

HU = NDArray[np.float64]
Mask = NDArray[np.bool_]

AIR = -1000.0
SOFT_TISSUE = 40.0

TISSUE_CLASSES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "air": (-np.inf, -950.0),
        "lung": (-950.0, -500.0),
        "fat_and_soft_tissue": (-150.0, 150.0),
        "bone": (200.0, np.inf),
    }
)
"""Range of the local mean in HU that stands for a tissue."""


@dataclass(frozen=True)
class HUWindow:
    """A range of HU and its map to [0, 1].

    The map is affine and not clipped, so that it can be undone for any HU.

    Raises:
        ValueError: the bounds are not finite or not in order.
    """

    lower: float
    upper: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.lower) and np.isfinite(self.upper) and self.lower < self.upper):
            raise ValueError(f"a window needs LOWER < UPPER in HU, got {self.lower},{self.upper}")

    @property
    def width(self) -> float:
        return self.upper - self.lower

    @property
    def centre(self) -> float:
        return 0.5 * (self.lower + self.upper)

    def to_unit(self, hu: HU) -> HU:
        """HU to [0, 1]; HU outside the window go below 0 or above 1."""
        return (hu - self.lower) / self.width

    def from_unit(self, unit: HU) -> HU:
        """The inverse of :meth:`to_unit`."""
        return unit * self.width + self.lower

    def inside(self, hu: HU) -> HU:
        """Weight of each pixel: 1 well inside, falling smoothly to 0 at the edges."""
        edge = 0.05 * self.width
        distance = np.minimum(hu - self.lower, self.upper - hu)
        ramp = np.clip(distance / edge, 0.0, 1.0)
        return ramp * ramp * (3.0 - 2.0 * ramp)


def tissue_masks(hu: HU, padding: Mask) -> dict[str, Mask]:
    """Pixels (H, W) of each class of :data:`TISSUE_CLASSES`, told by the local mean.

    A single noisy value would not do: pixels chosen for a high value are high by noise as
    well, and any denoiser would seem to bias them.
    """
    mean = uniform_filter(np.where(padding, AIR, hu), 5, mode="nearest")
    return {
        name: (mean >= lower) & (mean < upper) & ~padding
        for name, (lower, upper) in TISSUE_CLASSES.items()
    }
