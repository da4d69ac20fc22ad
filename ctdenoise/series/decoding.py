"""The words of a frame, out of any transfer syntax, as yet neither signed nor unsigned."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.encaps import encapsulate, generate_frames, get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import UID, RLELossless

from ctdenoise.errors import DamagedError
from ctdenoise.series.codestream import describe
from ctdenoise.series.layout import Layout
from ctdenoise.series.opening import UNDEFINED_LENGTH, BoundedFile, transfer_syntax

_OVERLAY_GROUPS = range(0x6000, 0x6020, 2)
_NO_SYNTAX = "it is compressed, and its transfer syntax says that it is not"
_NOT_COMPRESSED = "it is not compressed, and its transfer syntax says that it is"


@dataclass(frozen=True)
class Words:
    """A frame (H, W) of unsigned words.

    Attributes:
        values: unsigned numbers.
        bits: of a value.
        extended: bits above the values repeat their highest one, as is done with signed values.
        signed: what the compressed frame says; None where it cannot.
    """

    values: NDArray[Any]
    bits: int
    extended: bool = False
    signed: bool | None = None


def decode(
    path: Path,
    header: Dataset,
    pixels: RawDataElement,
    layout: Layout,
    frames: Sequence[int] | None,
) -> Generator[Words, None, None]:
    """The frames of a file one by one, all of them or those asked for.

    Raises:
        DamagedError: the pixel data is not what the header says.
    """
    syntax = transfer_syntax(header)
    if syntax.is_encapsulated and pixels.length != UNDEFINED_LENGTH:
        raise DamagedError(_NOT_COMPRESSED)
    if not syntax.is_encapsulated and pixels.length == UNDEFINED_LENGTH:
        raise DamagedError(_NO_SYNTAX)
    with BoundedFile(path) as file:
        source: BoundedFile | bytes = file
        if pixels.value is not None:
            source = pixels.value
        else:
            file.seek(pixels.value_tell)
        if syntax.is_encapsulated:
            for frame in _compressed(source, header, layout, frames):
                yield _decompressed(frame, syntax, header, layout)
            return
        there = len(source) if isinstance(source, bytes) else file.size - pixels.value_tell
        _check_length(min(pixels.length, there), layout)
        options = _options(syntax, layout) | {"pixel_vr": pixels.VR or "OW"}
        decoder = get_decoder(syntax)
        for words, _ in decoder.iter_array(source, indices=frames, raw=True, **options):
            yield _native(words, header, layout)


def embedded_overlays(header: Dataset) -> list[int]:
    """Groups of overlays that lie in unused bits of the pixels' words, as was done until 2004."""
    return [
        group
        for group in _OVERLAY_GROUPS
        if (group, 0x0102) in header and (group, 0x3000) not in header
    ]


def _options(syntax: UID, layout: Layout) -> dict[str, Any]:
    """For pydicom to give words as they are: what they mean is told here."""
    return {
        "transfer_syntax_uid": syntax,
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": layout.frames,
        "samples_per_pixel": 1,
        "photometric_interpretation": "MONOCHROME2",
        "bits_allocated": layout.allocated,
        "bits_stored": layout.allocated,
        "pixel_representation": 0,
        "pixel_keyword": "PixelData",
    }


def _check_length(there: int, layout: Layout) -> None:
    wanted = layout.frame_bytes * layout.frames
    # The byte that makes an odd length even may be missing.
    if there < wanted:
        raise DamagedError(f"it has {there} of {wanted} bytes of pixel data")


def _compressed(
    source: BoundedFile | bytes, header: Dataset, layout: Layout, frames: Sequence[int] | None
) -> Iterator[bytes]:
    offsets: Any = None
    if 0x7FE00001 in header and 0x7FE00002 in header:
        offsets = (header.ExtendedOffsetTable, header.ExtendedOffsetTableLengths)
    known: dict[str, Any] = {"number_of_frames": layout.frames, "extended_offsets": offsets}
    if frames is None:
        yield from generate_frames(source, **known)
        return
    start = 0 if isinstance(source, bytes) else source.tell()
    for frame in frames:
        if not isinstance(source, bytes):
            source.seek(start)
        yield get_frame(source, frame, **known)


def _decompressed(frame: bytes, syntax: UID, header: Dataset, layout: Layout) -> Words:
    layout.check_compressed(len(frame))
    decoder = get_decoder(syntax)
    options = _options(syntax, layout) | {"number_of_frames": 1, "pixel_vr": "OB"}
    if syntax == RLELossless:
        # Another decoder is faster, and ends the process over a damaged frame.
        options["decoding_plugin"] = "pydicom"
        words, _ = decoder.as_array(encapsulate([frame]), raw=True, **options)
        return _native(words, header, layout)
    said = describe(frame)
    if (said.rows, said.columns, said.samples) != (layout.rows, layout.columns, 1):
        raise DamagedError("a compressed frame has another size than the header says")
    if said.precision > layout.allocated:
        raise DamagedError("a compressed frame has more bits than the header says")
    if layout.shift:
        raise DamagedError("its High Bit is not that of compressed pixels")
    words, _ = decoder.as_array(encapsulate([frame]), raw=True, **options)
    words = words.astype(f"u{layout.allocated // 8}", copy=False)
    return Words(words & _mask(said.precision, words), said.precision, signed=said.signed)


def _native(words: NDArray[Any], header: Dataset, layout: Layout) -> Words:
    """Values out of words that may have something else beside them.

    Raises:
        DamagedError: there is something that nothing in the header explains.
    """
    words = words.astype(words.dtype.newbyteorder("="), copy=False)
    if layout.stored == layout.allocated or (
        layout.shift == 0 and int(words.max()) < 1 << layout.stored
    ):
        return Words(words, layout.stored)
    value_bits = range(layout.shift, layout.shift + layout.stored)
    for group in embedded_overlays(header):
        place = int(header[group, 0x0102].value)
        if place not in value_bits:
            words = words & ~_mask(1, words, place)
    values = (words >> layout.shift) & _mask(layout.stored, words)
    above = words >> (layout.shift + layout.stored)
    if words.dtype.type(0) != (words & _mask(layout.shift, words)).max():
        raise DamagedError("its pixels have something below their High and Bits Stored")
    if not above.any():
        return Words(values, layout.stored)
    highest = values >> (layout.stored - 1)
    unused = _mask(layout.allocated - layout.shift - layout.stored, words)
    if not np.array_equal(above, highest * unused):
        raise DamagedError("its pixels have more bits than its Bits Stored")
    return Words(values, layout.stored, extended=True)


def _mask(bits: int, words: NDArray[Any], shift: int = 0) -> Any:
    """So many ones from a place on, as a number of the words' type."""
    return words.dtype.type(((1 << bits) - 1) << shift)
