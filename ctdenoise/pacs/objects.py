"""What a received object is, and whether it is taken. Its bytes are kept as they came."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_file_meta_info
from pydicom.pixels import get_decoder
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from ctdenoise.derived.dataset import IMPLEMENTATION_CLASS_UID
from ctdenoise.pacs.durable import Bytes
from ctdenoise.pacs.names import digest

IMPLEMENTATION_VERSION = "CTDENOISE"
"""Our name, beside the UID, in associations and files."""

# Statuses of C-STORE: DICOM PS3.4 annex B.2.3, PS3.7 annex C.
OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
INVALID_INSTANCE = 0x0117
DUPLICATE_INSTANCE = 0x0111
PROCESSING_FAILURE = 0x0110

_TAGS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_BEHIND_UIDS = Tag("SeriesInstanceUID") + 1
_CHUNK = 2**20


class RefusedError(Exception):
    """An object is not taken; the status and a comment of at most 64 characters say why."""

    def __init__(self, status: int, comment: str) -> None:
        super().__init__(comment)
        self.status = status
        self.comment = comment[:64]


@dataclass(frozen=True)
class Received:
    """An object that may be taken: digests of its UIDs, and its file in parts."""

    series: str
    instance: str
    parts: Sequence[Bytes]


def transfer_syntaxes() -> list[UID]:
    """Every transfer syntax that can be decoded here."""
    return [syntax for syntax in AllTransferSyntaxes if _is_decodable(syntax)]


def examine(
    data: BytesIO, *, sop_class: UID, instance: UID, syntax: UID, most_bytes: int
) -> Received:
    """Make sure that an object is what the peer says that it is.

    Args:
        data: the dataset as it came.
        sop_class: what the peer says that it is.
        instance: its SOP Instance UID, as the peer says.
        syntax: how it is encoded.
        most_bytes: largest size, as it came and inflated.

    Raises:
        RefusedError: it is too large, damaged, or something else.
    """
    if data.getbuffer().nbytes > most_bytes:
        raise RefusedError(OUT_OF_RESOURCES, f"larger than {most_bytes // 2**20} MB")
    if not _is_uid(instance):
        raise RefusedError(INVALID_INSTANCE, "SOP Instance UID is no UID")
    header = _read_uids(data, syntax, most_bytes)
    if header.get("SOPClassUID") != sop_class:
        raise RefusedError(DOES_NOT_MATCH, "SOP Class UID is not that of the request")
    if header.get("SOPInstanceUID") != instance:
        raise RefusedError(DOES_NOT_MATCH, "SOP Instance UID is not that of the request")
    study, series = header.get("StudyInstanceUID"), header.get("SeriesInstanceUID")
    if not (_is_uid(study) and _is_uid(series)):
        raise RefusedError(DOES_NOT_MATCH, "Study or Series Instance UID missing or no UID")
    head = _file_head(sop_class, instance, syntax)
    return Received(digest(study, series), digest(instance), [head, data.getbuffer()])


def _is_uid(value: object) -> bool:
    # Zeros in front and such are common, and do no harm.
    return isinstance(value, str) and 0 < len(value) <= 64 and set(value) <= set("0123456789.")


def _read_uids(data: BytesIO, syntax: UID, most_bytes: int) -> Dataset:
    if syntax == DeflatedExplicitVRLittleEndian:
        data = _inflate(data, most_bytes)
    data.seek(0)
    try:
        header: Dataset = read_dataset(
            data,
            is_implicit_VR=syntax == ImplicitVRLittleEndian,
            is_little_endian=syntax.is_little_endian,
            stop_when=_is_behind_uids,
            specific_tags=[Tag(keyword) for keyword in _TAGS],
        )
        for keyword in _TAGS:
            header.get(keyword)
    except Exception:  # what is no dataset fails in many ways
        raise RefusedError(CANNOT_UNDERSTAND, "the dataset is damaged") from None
    return header


def _is_behind_uids(tag: BaseTag, vr: str | None, length: int) -> bool:
    return bool(tag >= _BEHIND_UIDS)


def _inflate(data: BytesIO, most_bytes: int) -> BytesIO:
    """A few bytes may stand for very many: no more than the limit are made of them."""
    inflated = BytesIO()
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    left: Bytes = data.getbuffer()
    try:
        while left and not inflater.eof:
            inflated.write(inflater.decompress(left, _CHUNK))
            left = inflater.unconsumed_tail
            if inflated.tell() > most_bytes:
                raise RefusedError(OUT_OF_RESOURCES, f"inflates to over {most_bytes // 2**20} MB")
    except zlib.error:
        raise RefusedError(CANNOT_UNDERSTAND, "the deflated dataset is damaged") from None
    return inflated


def _file_head(sop_class: UID, instance: UID, syntax: UID) -> bytes:
    """Preamble and file meta information; the same for the same object, whenever it comes."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = instance
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_file_meta_info(buffer, meta)
    return bytes(128) + b"DICM" + buffer.getvalue()


def _is_decodable(syntax: UID) -> bool:
    try:
        return bool(get_decoder(syntax).is_available)
    except NotImplementedError:  # a video
        return False
