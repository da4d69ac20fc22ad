"""What is found in the input: series, their images, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from ctdenoise.hounsfield import HU, Mask


def spread(total: int, count: int) -> list[int]:
    """Places of ``count`` slices of ``total``, each in the middle of its share; all if fewer."""
    count = min(count, total)
    return [(2 * i + 1) * total // (2 * count) for i in range(count)]


@dataclass(frozen=True)
class LeftOut:
    """A file that takes no part, and why; ``damaged`` if it seems that it should have."""

    path: Path
    reason: str
    damaged: bool = False


@dataclass(frozen=True)
class Instance:
    """One file of a series: a slice, or several frames.

    ``uid`` is its SOP Instance UID, or its name for NIfTI; ``position`` is the place of its
    first frame along the slice normal in mm, None where the file does not say.
    """

    path: Path
    uid: str
    frames: int
    rows: int
    columns: int
    position: float | None


@dataclass(frozen=True)
class Series:
    """Images that belong together, sorted along the slice normal.

    ``notes`` says what a reader of the result should know: tilt, gaps, duplicates.
    """

    kind: Literal["dicom", "nifti"]
    study_uid: str
    uid: str
    number: int | None
    instances: tuple[Instance, ...]
    notes: tuple[str, ...] = ()

    @property
    def slices(self) -> int:
        return sum(instance.frames for instance in self.instances)


@dataclass(frozen=True)
class Found:
    """Everything found at an input path."""

    series: tuple[Series, ...]
    left_out: tuple[LeftOut, ...]


_BY_FRAME = ("stored", "slope", "intercept", "padding")


@dataclass(frozen=True)
class SourceImage:
    """The pixels of one instance, or of some of its frames.

    Attributes:
        header: the DICOM dataset without its pixel data; None for NIfTI.
        stored: stored values (F, H, W), integers, or floats for a NIfTI of floats.
        slope: rescale slope of each frame (F,).
        intercept: rescale intercept of each frame (F,).
        padding: pixels (F, H, W) that are no image.
        first: place of the first of these frames in the instance, from 0.
        notes: what of the header was not true and is put right.
    """

    header: Dataset | None
    stored: NDArray[Any]
    slope: NDArray[np.float64]
    intercept: NDArray[np.float64]
    padding: Mask
    first: int = 0
    notes: tuple[str, ...] = ()

    @classmethod
    def join(cls, parts: Sequence[SourceImage]) -> SourceImage:
        """Frames of one instance that follow each other, as one."""
        if len(parts) == 1:
            return parts[0]
        arrays = ([getattr(part, name) for part in parts] for name in _BY_FRAME)
        stored, slope, intercept, padding = (np.concatenate(array) for array in arrays)
        of_first = parts[0].header, stored, slope, intercept, padding, parts[0].first
        return cls(*of_first, parts[0].notes)

    @property
    def hu(self) -> HU:
        """Hounsfield units (F, H, W)."""
        slope, intercept = self.slope[:, None, None], self.intercept[:, None, None]
        return self.stored.astype(np.float64) * slope + intercept
