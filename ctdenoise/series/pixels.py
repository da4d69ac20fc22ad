"""Stored values and Hounsfield units of a DICOM file."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.pixels import get_decoder
from pydicom.pixels.utils import as_pixel_options, get_expected_length, pixel_dtype
from pydicom.uid import DeflatedExplicitVRLittleEndian

from ctdenoise.errors import CTDenoiseError
from ctdenoise.file_names import named
from ctdenoise.hounsfield import Mask
from ctdenoise.series.frames import frame_count, rescale
from ctdenoise.series.model import SourceImage

_PIXEL_DATA = 0x7FE00010
_LARGE = 2**16
"""Bytes of an element from which on it is left in the file until it is needed."""


def read_image(path: Path) -> SourceImage:
    """Header and pixels of a CT file; the rescale is read, never assumed.

    Raises:
        CTDenoiseError: the file is gone, cut short, or compressed in a way that no installed
            decoder knows.
    """
    return SourceImage.join(list(read_frames(path)))


def read_frames(path: Path, frames: Sequence[int] | None = None) -> Iterator[SourceImage]:
    """The frames of a CT file one by one, all of them or those asked for, in order.

    Only one is in memory at a time, but for a deflated file. They share one header.

    Raises:
        CTDenoiseError: as :func:`read_image`, when the frame concerned is reached.
    """
    with _in_one_line(path):
        header, pixels = _read_header(path)
    count = frame_count(header)
    scales = [rescale(header, frame) for frame in range(count)]
    if any(scale is None for scale in scales):
        raise CTDenoiseError(f"{named(path)}: a frame has no Rescale Slope and Intercept")
    slope, intercept = np.array(scales, dtype=np.float64).T
    wanted = range(count) if frames is None else frames
    decoded = _decode(path, header, pixels, frames)
    try:
        for frame in wanted:
            with _in_one_line(path):
                stored = next(decoded, None)
                if stored is None:
                    raise ValueError(f"it holds {frame} of {count} frames")
            try:
                padding = is_padding(header, stored)
            except (TypeError, ValueError):
                said = f"{named(path)}: its Pixel Padding Value is no number"
                raise CTDenoiseError(said) from None
            place = slice(frame, frame + 1)
            yield SourceImage(
                header, stored[None], slope[place], intercept[place], padding[None], frame
            )
    finally:
        decoded.close()


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


def stored_dtype(header: Dataset) -> np.dtype[Any]:
    """The type of the stored pixels in memory."""
    return pixel_dtype(header).newbyteorder("=")


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


def _read_header(path: Path) -> tuple[Dataset, RawDataElement]:
    """The dataset without its pixel data, and the pixel data, of which a large one is not read."""
    header = pydicom.dcmread(path, force=True, defer_size=_LARGE)
    syntax = getattr(header, "file_meta", Dataset()).get("TransferSyntaxUID")
    if syntax == DeflatedExplicitVRLittleEndian:
        # What would be left in the file is not where it would be looked for.
        header = pydicom.dcmread(path, force=True)
    pixels = header.get_item(_PIXEL_DATA, keep_deferred=True)
    if not isinstance(pixels, RawDataElement):
        raise AttributeError("no pixel data")
    del header[_PIXEL_DATA]
    for tag in [raw.tag for raw in header.values() if raw.is_raw and raw.value is None]:
        header[tag]  # read it now: the file may be gone when it is needed
    return header, pixels


def _decode(
    path: Path, header: Dataset, pixels: RawDataElement, frames: Sequence[int] | None
) -> Generator[NDArray[Any], None, None]:
    """Stored values (H, W), frame by frame, of a file that is opened only now if it is large."""
    syntax = header.file_meta.TransferSyntaxUID
    decoder = get_decoder(syntax)
    # Some decoders give wider numbers than the file has.
    dtype = stored_dtype(header)
    options = as_pixel_options(header, pixel_keyword="PixelData", pixel_vr=pixels.VR or "OW")
    with path.open("rb") as file:
        source: BinaryIO | bytes = file
        if pixels.value is not None:
            source = pixels.value
        else:
            file.seek(pixels.value_tell)
            if not syntax.is_encapsulated:
                _check_length(path, header, pixels)
        for frame, _ in decoder.iter_array(source, indices=frames, **options):
            yield frame.astype(dtype, copy=False)


def _check_length(path: Path, header: Dataset, pixels: RawDataElement) -> None:
    there = min(pixels.length, path.stat().st_size - pixels.value_tell)
    # The byte that makes an odd length even may be missing.
    wanted = get_expected_length(header) - 1
    if there < wanted:
        raise ValueError(f"it has {there} of {wanted + 1} bytes of pixel data")


@contextmanager
def _in_one_line(path: Path) -> Iterator[None]:
    """Whatever goes wrong in reading a file, as one line with its name."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except OSError as error:
        raise CTDenoiseError(f"{named(path)}: cannot be read: {error.strerror or error}") from None
    except Exception as error:  # decoders fail in many ways, and all mean the same here
        raise CTDenoiseError(f"{named(path)}: {_why_undecodable(path, error)}") from None


def _why_undecodable(path: Path, error: Exception) -> str:
    try:
        syntax = pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID.name
    except Exception:
        return f"damaged ({type(error).__name__})"
    reason = " ".join(str(error).split())
    return f"pixels cannot be decoded ({syntax}): {reason[:200]}"
