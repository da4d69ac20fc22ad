"""The files that a DICOMDIR names."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import MediaStorageDirectoryStorage

from ctdenoise.series.opening import read_header, without_warnings


def is_directory(header: Dataset) -> bool:
    """Whether a dataset is a DICOMDIR's."""
    said = header.get("MediaStorageSOPClassUID", header.get("SOPClassUID"))
    return said == MediaStorageDirectoryStorage or "DirectoryRecordSequence" in header


def files_of_directory(path: Path) -> list[Path] | None:
    """The files beside a DICOMDIR that it names, also those that are not there.

    Names that lead elsewhere are passed over. None if the file is no DICOMDIR, or a damaged one.

    Source: DICOM PS3.3 section F.3.2.2 and PS3.10 section 8.2.
    """
    try:
        header = read_header(path)
        if not is_directory(header):
            return None
        with without_warnings():
            names = [record.get("ReferencedFileID") for record in header.DirectoryRecordSequence]
    except Exception:  # pydicom meets broken files with errors of many kinds
        return None
    found = {_file(path.parent, name) for name in names if name}
    return sorted(file for file in found if file is not None)


def _file(folder: Path, name: str | Iterable[str]) -> Path | None:
    parts = [name] if isinstance(name, str) else [str(part) for part in name]
    path = folder
    for part in parts:
        if part in ("", ".", "..") or any(mark in part for mark in "/\\:\0"):
            return None
        # Media are mounted with names in either case.
        named = (path / spelt for spelt in (part, part.lower()))
        path = next((file for file in named if file.exists()), path / part)
    return path
