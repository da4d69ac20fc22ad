"""Stored values and Hounsfield units of a DICOM file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import Dataset

from ctdenoise.errors import CTDenoiseError
from ctdenoise.hounsfield import Mask
from ctdenoise.series.frames import frame_count, rescale
from ctdenoise.series.model import SourceImage


def read_image(path: Path) -> SourceImage:
    """Header and pixels of a CT file; the rescale is read, never assumed.

    Raises:
        CTDenoiseError: the file is gone, cut short, or compressed in a way that no installed
            decoder knows.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(path, force=True)
            stored = header.pixel_array
    except OSError as error:
        raise CTDenoiseError(f"{path.name}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # decoders fail in many ways, and all mean the same here
        raise CTDenoiseError(f"{path.name}: {_why_undecodable(path, error)}") from None
    stored = stored.reshape(-1, *stored.shape[-2:])
    scales = [rescale(header, frame) for frame in range(frame_count(header))]
    if any(scale is None for scale in scales):
        raise CTDenoiseError(f"{path.name}: a frame has no Rescale Slope and Intercept")
    slope, intercept = np.array(scales, dtype=np.float64).T
    try:
        padding = is_padding(header, stored)
    except (TypeError, ValueError):
        raise CTDenoiseError(f"{path.name}: its Pixel Padding Value is no number") from None
    del header.PixelData
    return SourceImage(header, stored, slope, intercept, padding)


def is_padding(header: Dataset, stored: NDArray[Any]) -> Mask:
    """Pixels that hold the padding value or one of the padding range.

    Source: DICOM PS3.3 section C.7.5.1.1.2.
    """
    bounds = padding_range(header)
    if bounds is None:
        return np.zeros(stored.shape, dtype=np.bool_)
    return np.asarray((stored >= bounds[0]) & (stored <= bounds[1]), dtype=np.bool_)


def padding_range(header: Dataset) -> tuple[int, int] | None:
    """Lowest and highest stored value that means padding, or None."""
    value = header.get("PixelPaddingValue")
    if value is None:
        return None
    limit = header.get("PixelPaddingRangeLimit")
    bounds = [_as_stored(header, int(v)) for v in (value, value if limit is None else limit)]
    return min(bounds), max(bounds)


def stored_range(header: Dataset) -> tuple[int, int]:
    """Lowest and highest value that the stored pixels can hold."""
    bits = int(header.BitsStored)
    if header.PixelRepresentation == 1:
        return -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1


def _as_stored(header: Dataset, value: int) -> int:
    """A padding value as the pixels have it: some files write it with the wrong sign."""
    bits = int(header.BitsAllocated)
    if header.PixelRepresentation == 1 and value >= 1 << (bits - 1):
        return value - (1 << bits)
    if header.PixelRepresentation == 0 and value < 0:
        return value + (1 << bits)
    return value


def _why_undecodable(path: Path, error: Exception) -> str:
    try:
        syntax = pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID.name
    except Exception:
        return f"damaged ({type(error).__name__})"
    reason = " ".join(str(error).split())
    return f"pixels cannot be decoded ({syntax}): {reason[:200]}"
