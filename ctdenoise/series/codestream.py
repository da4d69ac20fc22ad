"""What a compressed frame says of itself, to be held against the header before it is decoded."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ctdenoise.errors import DamagedError

_NO_FRAME_HEADER = frozenset({0xC4, 0xC8, 0xCC})
"""Markers among those of JPEG's frame headers that are none."""
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_JP2_START = b"\x00\x00\x00\x0cjP  "


@dataclass(frozen=True)
class Codestream:
    """Size of a frame, its samples a pixel, and their bits.

    ``signed`` is None where the format cannot say: of those that DICOM knows, JPEG 2000 alone can.
    """

    rows: int
    columns: int
    samples: int
    precision: int
    signed: bool | None = None


def describe(frame: bytes) -> Codestream:
    """Read the frame header of a JPEG, JPEG-LS or JPEG 2000 codestream.

    Source: ITU-T T.81 section B.2.2, T.87 section C.2.2, T.800 section A.5.1.

    Raises:
        DamagedError: there is none.
    """
    try:
        if frame.startswith(_JP2_START):
            return _jpeg_2000(frame, _codestream_in_jp2(frame))
        if frame.startswith(b"\xff\x4f\xff\x51"):
            return _jpeg_2000(frame, 0)
        if frame.startswith(b"\xff\xd8"):
            return _jpeg(frame)
    except (struct.error, IndexError):
        raise DamagedError("a compressed frame is cut short") from None
    raise DamagedError("a compressed frame is none of its transfer syntax")


def _codestream_in_jp2(frame: bytes) -> int:
    """Where the codestream begins in a file of boxes, each of which must lead on."""
    place = 0
    while True:
        length, kind = struct.unpack_from(">I4s", frame, place)
        if kind == b"jp2c":
            return place + (16 if length == 1 else 8)
        if length < 8:
            raise DamagedError("a compressed frame is damaged")
        place += length


def _jpeg_2000(frame: bytes, start: int) -> Codestream:
    soc, siz, _, _, *size = struct.unpack_from(">HHHHIIIIIIIIH", frame, start)
    if (soc, siz) != (0xFF4F, 0xFF51):
        raise DamagedError("a compressed frame is damaged")
    right, below, left, above, *_, samples = size
    bits = frame[start + 42]
    return Codestream(below - above, right - left, samples, (bits & 0x7F) + 1, bits >= 0x80)


def _jpeg(frame: bytes) -> Codestream:
    place = 2
    while True:
        fill, marker = frame[place], frame[place + 1]
        if fill != 0xFF:
            raise DamagedError("a compressed frame is damaged")
        if marker == 0xFF:
            place += 1
        elif marker in _WITHOUT_LENGTH:
            place += 2
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in _NO_FRAME_HEADER):
            precision, rows, columns, samples = struct.unpack_from(">BHHB", frame, place + 4)
            return Codestream(rows, columns, samples, precision)
        else:
            (length,) = struct.unpack_from(">H", frame, place + 2)
            place += 2 + length
