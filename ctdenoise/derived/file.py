"""A derived DICOM file, written frame by frame."""

from __future__ import annotations

import struct
import warnings
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmwrite
from pydicom.encaps import itemize_frame
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.pixels import get_encoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import UID

from ctdenoise.derived.atomic import StreamedFile
from ctdenoise.derived.dataset import derive
from ctdenoise.derived.provenance import Derivation
from ctdenoise.errors import CTDenoiseError
from ctdenoise.series.frames import frame_count

_PIXEL_DATA = 0x7FE00010
_UNDEFINED_LENGTH = 0xFFFFFFFF


class DerivedFile:
    """The file derived from a source, of which no more than a frame is in memory.

    It is not there before it is finished, and to be abandoned after an error.

    Args:
        path: of the file.
        source: the source's dataset, without its pixel data.
        provenance: what makes the pixels.
        when: date and time of the creation.
        syntax: compresses without loss; None is explicit little endian.

    Raises:
        CTDenoiseError: the pixels are more than such a file can hold.
        OSError: the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        source: Dataset,
        provenance: Derivation,
        when: datetime,
        syntax: UID | None = None,
    ) -> None:
        size = int(source.BitsAllocated) // 8
        total = frame_count(source) * int(source.Rows) * int(source.Columns) * size
        if syntax is None and total >= _UNDEFINED_LENGTH:
            raise CTDenoiseError(
                f"{path.name}: is too large for DICOM without compression: use --transfer-syntax"
            )
        self._dtype = np.dtype(f"<{'i' if source.PixelRepresentation == 1 else 'u'}{size}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            head = derive(source, provenance, when)
            self._tail, self._charset = Dataset(), head.get("SpecificCharacterSet", "iso8859")
            for tag in [tag for tag in list(head.keys()) if tag > _PIXEL_DATA]:
                self._tail[tag] = head.pop(tag)
            self._streamed = StreamedFile(path, lambda partial: partial.open("wb"))
            try:
                if syntax is not None:
                    head.file_meta.TransferSyntaxUID = syntax
                # By way of memory: what pydicom says of a full disk is no line to be shown.
                before = BytesIO()
                dcmwrite(before, head, enforce_file_format=True)
                self._streamed.file.write(before.getvalue())
                self._pixels: _Pixels = (
                    _Native(self._streamed.file, total, size)
                    if syntax is None
                    else _Encapsulated(self._streamed.file, head, syntax, total)
                )
            except BaseException:
                self.abandon()
                raise

    def write(self, stored: NDArray[Any]) -> None:
        """The next frames (F, H, W), stored values in the source's bits and rescale."""
        for frame in stored:
            self._pixels.write(np.ascontiguousarray(frame, dtype=self._dtype).tobytes())

    def finish(self) -> None:
        """End the file, when all frames are in it."""
        self._pixels.end()
        behind = DicomBytesIO()
        behind.is_implicit_VR, behind.is_little_endian = False, True
        write_dataset(behind, self._tail, self._charset)
        self._streamed.file.write(behind.getvalue())
        self._streamed.finish()

    def abandon(self) -> None:
        """Leave nothing of a file that was not finished."""
        self._streamed.abandon()


class _Pixels(Protocol):
    """The Pixel Data element, whose frames come as little endian bytes."""

    def write(self, frame: bytes) -> None:
        """The next frame."""

    def end(self) -> None:
        """No more frames."""


class _Native:
    def __init__(self, file: BinaryIO, total: int, size: int) -> None:
        self._file, self._padding = file, bytes(total % 2)
        file.write(_element(b"OB" if size == 1 else b"OW", total + total % 2))

    def write(self, frame: bytes) -> None:
        self._file.write(frame)

    def end(self) -> None:
        self._file.write(self._padding)


class _Encapsulated:
    """Frames that are compressed one by one, and a table of where they are.

    Source: DICOM PS3.5 section A.4.
    """

    def __init__(self, file: BinaryIO, head: Dataset, syntax: UID, total: int) -> None:
        self._file, self._encoder = file, get_encoder(syntax)
        self._options = as_pixel_options(head, number_of_frames=1)
        # The table may be left empty, and is where its 32 bits could be too few.
        self._room = frame_count(head) if total < 2**31 else 0
        file.write(_element(b"OB", _UNDEFINED_LENGTH) + _item(0xE000, 4 * self._room))
        self._table = file.tell()
        file.write(bytes(4 * self._room))
        self._first, self._offsets = file.tell(), list[int]()

    def write(self, frame: bytes) -> None:
        self._offsets.append(self._file.tell() - self._first)
        for item in itemize_frame(self._encoder.encode(frame, **self._options)):
            self._file.write(item)

    def end(self) -> None:
        self._file.write(_item(0xE0DD, 0))
        if self._room:
            end = self._file.tell()
            self._file.seek(self._table)
            self._file.write(struct.pack(f"<{self._room}I", *self._offsets))
            self._file.seek(end)


def _element(kind: bytes, length: int) -> bytes:
    """Tag, kind and length of the Pixel Data element."""
    return struct.pack("<HH2sHI", 0x7FE0, 0x0010, kind, 0, length)


def _item(element: int, length: int) -> bytes:
    """Tag and length of an item, or of the end of a sequence."""
    return struct.pack("<HHI", 0xFFFE, element, length)
