"""Where slices lie: their order along the normal, and what is odd about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ANGLE_TOLERANCE = 1e-3
POSITION_TOLERANCE_MM = 0.01


@dataclass(frozen=True)
class Plane:
    """Position (3,) and direction cosines (6,) of a slice, as in DICOM's Image Plane module."""

    position: tuple[float, ...]
    orientation: tuple[float, ...]

    @property
    def normal(self) -> NDArray[np.float64]:
        return np.cross(self.orientation[:3], self.orientation[3:])

    @property
    def offset(self) -> float:
        """Place along the slice normal in mm."""
        return float(np.dot(self.normal, self.position))

    def parallel_to(self, other: Plane) -> bool:
        return bool(np.allclose(self.orientation, other.orientation, atol=ANGLE_TOLERANCE))


def stack_notes(planes: Sequence[Plane]) -> list[str]:
    """What is odd about a stack of parallel planes, sorted by their offset.

    Denoising goes slice by slice, so that none of it stands in the way; a reader should know.
    """
    if len(planes) < 2:
        return []
    notes = []
    steps = np.diff([plane.offset for plane in planes])
    duplicates = int(np.sum(steps < POSITION_TOLERANCE_MM))
    if duplicates:
        notes.append(f"{duplicates} slices lie at the position of another")
    steps = steps[steps >= POSITION_TOLERANCE_MM]
    if steps.size:
        spacing = float(np.median(steps))
        uneven = steps[np.abs(steps - spacing) > 0.02 * spacing]
        missing = sum(round(step / spacing) - 1 for step in uneven if _is_multiple(step / spacing))
        if missing:
            notes.append(f"{missing} slices seem to be missing (spacing {spacing:g} mm)")
        elif uneven.size:
            notes.append(f"slice spacing is uneven ({steps.min():g} to {steps.max():g} mm)")
    along = np.subtract(planes[-1].position, planes[0].position)
    length = float(np.linalg.norm(along))
    if length > POSITION_TOLERANCE_MM:
        cosine = abs(float(np.dot(planes[0].normal, along))) / length
        tilt = float(np.degrees(np.arccos(min(cosine, 1.0))))
        if tilt > 0.5:
            notes.append(f"slices are sheared by {tilt:.1f} degrees (gantry tilt)")
    return notes


def _is_multiple(ratio: float) -> bool:
    return round(ratio) >= 2 and abs(ratio - round(ratio)) < 0.05
