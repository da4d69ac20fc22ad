"""DICOM files that nobody vouches for, read into no more memory than they declare."""

from __future__ import annotations

import io
import os
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from ctdenoise.errors import DamagedError

PIXEL_DATA = 0x7FE00010
UNDEFINED_LENGTH = 0xFFFFFFFF
_BARE_STARTS = (b"\x08\x00", b"\x02\x00", b"\x00\x08")
_LARGE = 2**16
"""Bytes of an element from which on it is left in the file until it is needed."""
_HEADER_LIMIT = 2**24
"""Bytes that all but the pixels of a deflated file may have."""


@contextmanager
def without_warnings() -> Iterator[None]:
    """What pydicom warns of quotes values, which may be a patient's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class BoundedFile(io.BufferedReader):
    """A file that sets aside no more than it holds, whatever length it is asked to read.

    A damaged file may say that an element has gigabytes.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(str(path)))
        self.size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size if size is None or size < 0 else min(size, self.size))


def says_dicom(path: Path) -> bool:
    """Whether a file has DICOM's preamble; not, if it cannot be read."""
    try:
        return _start(path)[128:] == b"DICM"
    except OSError:
        return False


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(132)


def read_header(path: Path) -> Dataset:
    """The dataset of a file, without its pixel data.

    A file without the DICOM preamble is read if it starts like a dataset.

    Raises:
        InvalidDicomError: the file is not DICOM.
    """
    start = _start(path)
    if start[128:] != b"DICM" and start[:2] not in _BARE_STARTS:
        raise InvalidDicomError
    with without_warnings(), BoundedFile(path) as file:
        if _is_deflated(file):
            return _inflated(file, _HEADER_LIMIT, before_pixels=True)
        return pydicom.dcmread(file, stop_before_pixels=True, force=True)


def read_with_pixels(path: Path) -> tuple[Dataset, RawDataElement]:
    """The dataset without its pixel data, and the pixel data, of which a large one is not read.

    Raises:
        DamagedError: there is no pixel data, or an element is longer than the file.
    """
    with without_warnings(), BoundedFile(path) as file:
        if _is_deflated(file):
            declared = _declared_bytes(_inflated(file, _HEADER_LIMIT, before_pixels=True))
            header = _inflated(file, _HEADER_LIMIT + declared, before_pixels=False)
        else:
            header = pydicom.dcmread(file, force=True, defer_size=_LARGE)
        pixels = header.get_item(PIXEL_DATA, keep_deferred=True)
        if not isinstance(pixels, RawDataElement):
            raise DamagedError("it has no pixel data")
        del header[PIXEL_DATA]
        for raw in [raw for raw in header.values() if raw.is_raw and raw.value is None]:
            if file.size < raw.length < UNDEFINED_LENGTH:
                raise DamagedError("an element is longer than the file")
            header[raw.tag]  # read it now: the file may be gone when it is needed
    return header, pixels


def decode_elements(header: Dataset) -> tuple[str, ...]:
    """Decode all elements, of sequences as well, so that no later step meets what it cannot read.

    Those that cannot be decoded stay as bytes of unknown meaning.

    Returns:
        A note, if there are such elements.

    Raises:
        DamagedError: a sequence cannot be decoded.
    """
    notes: tuple[str, ...] = ()
    for tag in list(header.keys()):
        raw = header.get_item(tag)
        try:
            element = header[tag]
            for item in element.value or [] if element.VR == "SQ" else []:
                notes = decode_elements(item) or notes
            if " or " in element.VR:
                raise ValueError("of a kind that cannot be told")
        except (DamagedError, RecursionError):
            raise DamagedError("a sequence of its header cannot be read") from None
        except Exception:  # pydicom meets broken elements with errors of many kinds
            is_sequence = raw is None or raw.VR == "SQ" or not isinstance(raw.value, bytes)
            if is_sequence or (dictionary_has_tag(tag) and dictionary_VR(tag) == "SQ"):
                raise DamagedError("a sequence of its header cannot be read") from None
            unknown = DataElement(tag, "UN", raw.value, already_converted=True)
            unknown.VR = "UN"  # pydicom puts the dictionary's kind in its place
            header[tag] = unknown
            notes = ("elements that cannot be read were kept as they are",)
    return notes


def transfer_syntax(header: Dataset) -> UID:
    """What the file says of its encoding, or what can be told of a file that does not say."""
    said = getattr(header, "file_meta", Dataset()).get("TransferSyntaxUID")
    if said:
        return UID(said)
    implicit, little_endian = header.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little_endian else ExplicitVRBigEndian


def _is_deflated(file: BoundedFile) -> bool:
    start = file.read(4096)
    file.seek(0)
    return DeflatedExplicitVRLittleEndian.encode() in start and (
        _read_meta(file).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    )


def _read_meta(file: BoundedFile) -> FileMetaDataset:
    """The file meta information; the file is left where the dataset begins."""
    file.seek(132 if file.read(132)[128:] == b"DICM" else 0)
    return FileMetaDataset(read_dataset(file, False, True, stop_when=_is_beyond_meta))


def _is_beyond_meta(tag: Any, vr: str | None, length: int) -> bool:
    return bool(tag.group != 2)


def _inflated(file: BoundedFile, limit: int, *, before_pixels: bool) -> Dataset:
    """The dataset of a deflated file, of which no more than ``limit`` bytes are inflated."""
    file.seek(0)
    meta = _read_meta(file)
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    data = unpacker.decompress(file.read(), limit)
    if not before_pixels and unpacker.unconsumed_tail:
        raise DamagedError("it inflates to more than the pixels that it declares")
    header = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=before_pixels, force=True)
    header.buffer = None
    header.file_meta = meta
    return header


def _declared_bytes(header: Dataset) -> int:
    sizes = (header.get(word) or 0 for word in ("Rows", "Columns", "BitsAllocated"))
    rows, columns, bits = (int(size) for size in sizes)
    return rows * columns * bits // 8 * max(1, int(header.get("NumberOfFrames") or 1))
