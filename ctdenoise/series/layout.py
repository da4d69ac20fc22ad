"""How the pixels of a file lie in their words, as its header says, once that is checked."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom import Dataset
from pydicom.uid import UID

from ctdenoise.errors import DamagedError
from ctdenoise.series.frames import frame_count

MAX_UNPACKED = 2**26
MAX_RATIO = 200
"""A frame of more than ``MAX_UNPACKED`` bytes has at most so many times its compressed bytes."""
_LEAST_ITEM = 8
"""Bytes of an item of encapsulated pixel data without a value."""
_MAX_INFLATION = 1032
"""What deflate can make of a byte."""


@dataclass(frozen=True)
class Layout:
    """The Image Pixel module of a gray image.

    Source: DICOM PS3.3 section C.7.6.3 and PS3.5 section 8.1.1.

    Attributes:
        frames: number of frames.
        rows: of a frame.
        columns: of a frame.
        allocated: bits of a word.
        stored: bits of a value in it.
        shift: bits below the value in its word.
        signed: whether values are said to be signed.
    """

    frames: int
    rows: int
    columns: int
    allocated: int
    stored: int
    shift: int
    signed: bool

    @classmethod
    def of(cls, header: Dataset) -> Layout:
        """The layout that a header declares.

        Raises:
            ValueError: something is missing, or contradicts something else.
        """
        names = ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation")
        rows, columns, allocated, stored, signed = (_number(header, name) for name in names)
        high = _number(header, "HighBit") if header.get("HighBit") is not None else stored - 1
        if rows < 1 or columns < 1:
            raise DamagedError("it has no Rows and Columns")
        if allocated not in (8, 16, 32) or signed not in (0, 1):
            raise DamagedError("its Bits Allocated or Pixel Representation is none of CT")
        if not 1 <= stored <= high + 1 <= allocated:
            raise DamagedError("its Bits Allocated, Bits Stored and High Bit contradict each other")
        frames = frame_count(header)
        return cls(frames, rows, columns, allocated, stored, high + 1 - stored, signed == 1)

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame that is not compressed."""
        return self.rows * self.columns * self.allocated // 8

    def check_compressed(self, length: int) -> None:
        """Make sure of the size of a frame before memory is set aside for it.

        Raises:
            ValueError: so many pixels cannot be in so few bytes.
        """
        if self.frame_bytes > max(MAX_UNPACKED, MAX_RATIO * length):
            raise DamagedError("it declares more pixels than its data can hold")


def checked_layout(header: Dataset, syntax: UID, file_size: int) -> Layout:
    """The layout that a header declares, if a file of so many bytes can have so many frames.

    Raises:
        DamagedError: it cannot, or something is missing, or contradicts something else.
    """
    layout = Layout.of(header)
    if syntax.is_encapsulated:
        most = file_size // _LEAST_ITEM
    else:
        there = file_size * _MAX_INFLATION if syntax.is_deflated else file_size
        # The last of them may be cut short.
        most = there // max(1, layout.frame_bytes) + 1
    if layout.frames > most:
        raise DamagedError("it declares more frames than the file can hold")
    groups = header.get("PerFrameFunctionalGroupsSequence")
    if groups and len(groups) != layout.frames:
        raise DamagedError(f"it has functional groups for {len(groups)} of {layout.frames} frames")
    return layout


def _number(header: Dataset, name: str) -> int:
    value = header.get(name)
    if not isinstance(value, int):
        words = "".join(f" {letter}" if letter.isupper() else letter for letter in name).strip()
        raise DamagedError(f"its {words} is missing or no number")
    return int(value)
