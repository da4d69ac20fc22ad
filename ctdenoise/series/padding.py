"""Pixels that are no image, as the header says, whatever sign it gives their value."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from ctdenoise.errors import DamagedError
from ctdenoise.hounsfield import Mask


def is_padding(header: Dataset, stored: NDArray[Any], *, signed: bool | None = None) -> Mask:
    """Pixels that hold the padding value or one of the padding range.

    ``signed`` says how the values were read, where that is not as the header says.

    Source: DICOM PS3.3 section C.7.5.1.1.2.

    Raises:
        DamagedError: the padding value is no number.
    """
    bounds = padding_range(header, signed=signed)
    if bounds is None:
        return np.zeros(stored.shape, dtype=np.bool_)
    return np.asarray((stored >= bounds[0]) & (stored <= bounds[1]), dtype=np.bool_)


def padding_range(header: Dataset, *, signed: bool | None = None) -> tuple[int, int] | None:
    """Lowest and highest stored value that means padding, or None.

    Raises:
        DamagedError: the padding value is no number.
    """
    value = header.get("PixelPaddingValue")
    if value is None:
        return None
    limit = header.get("PixelPaddingRangeLimit")
    if signed is None:
        signed = header.PixelRepresentation == 1
    ends = (value, value if limit is None else limit)
    try:
        bounds = [_as_stored(int(end), int(header.BitsAllocated), signed) for end in ends]
    except (TypeError, ValueError, OverflowError):
        raise DamagedError("its Pixel Padding Value is no number") from None
    return min(bounds), max(bounds)


def settle_padding(header: Dataset) -> None:
    """Write the padding values of a header as its Pixel Representation has them.

    Raises:
        DamagedError: one is no number, or is none that such pixels have.
    """
    bounds = padding_range(header)
    if bounds is None:
        return
    signed = header.PixelRepresentation == 1
    limits = (-(1 << 15), (1 << 15) - 1) if signed else (0, (1 << 16) - 1)
    if bounds[0] < limits[0] or bounds[1] > limits[1]:
        raise DamagedError("its Pixel Padding Value is none of its pixels")
    for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        if header.get(name) is not None:
            value = _as_stored(int(header[name].value), int(header.BitsAllocated), signed)
            header.add_new(name, "SS" if signed else "US", value)


def _as_stored(value: int, allocated: int, signed: bool) -> int:
    """A padding value as the pixels have it: some files write it with the wrong sign."""
    if signed and value >= 1 << (allocated - 1):
        return value - (1 << allocated)
    if not signed and value < 0:
        return value + (1 << allocated)
    return value
