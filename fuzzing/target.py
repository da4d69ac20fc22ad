"""What is called with each damaged file, and how files are damaged.

Run by :mod:`fuzzing.reader`, which says how often and with which limits.
"""

from __future__ import annotations

import random
import struct
import sys
import tempfile
import warnings
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ctdenoise.series"]):
    from ctdenoise.series import Instance, Series, find, read_frames

import numpy as np
from pydicom.datadict import tag_for_keyword
from pydicom.uid import UID

from ctdenoise.derived.file import DerivedFile
from ctdenoise.derived.pixels import to_stored
from ctdenoise.errors import CTDenoiseError

_POINTS = (
    "TransferSyntaxUID",
    "SOPClassUID",
    "ImageType",
    "SamplesPerPixel",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "LUTDescriptor",
    "LUTData",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "SpecificCharacterSet",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "InstanceNumber",
    "SeriesNumber",
    "PixelData",
)
"""What decides the pixels: damage there goes further than damage anywhere."""
_LEFT = 16
"""Bytes behind a tag that are damaged: its kind, its length, and the start of its value."""
_WHEN = datetime(2000, 1, 1)
_folder = Path(tempfile.mkdtemp(prefix="fuzzing-"))


@dataclass(frozen=True)
class _AsItIs:
    """A derivation that changes nothing."""

    keep_primary: bool = False
    keep_private: bool = True
    deidentify: bool = False
    label: str = "as it is"
    contribution: str = "none"
    code: tuple[str, str] = ("113087", "Smoothing")

    def description(self) -> str:
        return "as it is"

    def derive_uid(self, source_uid: str) -> UID:
        return UID("2.25.1")


def damage(data: bytes, max_size: int, seed: int) -> bytes:
    """Other bytes, near one of the points that decide the pixels, or anywhere."""
    chance = random.Random(seed)
    if chance.random() < 0.5:
        return bytes(atheris.Mutate(data, max_size))
    tag = tag_for_keyword(chance.choice(_POINTS)) or 0
    order = "<" if chance.random() < 0.9 else ">"
    place = data.find(struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF))
    if place < 0:
        return bytes(atheris.Mutate(data, max_size))
    start, end = place + 4, place + 4 + chance.randrange(1, _LEFT)
    middle = bytes(atheris.Mutate(data[start:end], _LEFT))
    return (data[:start] + middle + data[end:])[:max_size]


def read(data: bytes) -> None:
    """Find and read what is in a file, and derive from it; damage has one error alone."""
    path = _folder / _name(data)
    path.write_bytes(data)
    try:
        for series in find(path).series:
            for instance in series.instances:
                _read(series, instance)
    except CTDenoiseError as error:
        if "\n" in str(error) or len(str(error)) > 500:
            raise AssertionError("more than a line") from error
    finally:
        path.unlink()
    left = list(_folder.iterdir())
    if left:
        raise AssertionError(f"left behind: {left}")


def _name(data: bytes) -> str:
    if data.startswith(b"\x1f\x8b"):
        return "volume.nii.gz"
    return "volume.nii" if data[344:348] == b"n+1\0" else "file"


def _read(series: Series, instance: Instance) -> None:
    file: DerivedFile | None = None
    try:
        for image in read_frames(series, instance):
            assert image.stored.shape == (1, instance.rows, instance.columns)
            assert image.padding.shape == image.stored.shape
            stored = to_stored(image.hu, image)
            if image.header is None:
                continue
            np.testing.assert_array_equal(stored, image.stored)
            if file is None:
                file = DerivedFile(_folder / "derived", image.header, _AsItIs(), _WHEN)
            file.write(stored)
        if file is not None:
            file.finish()
            _compare(instance)
    finally:
        if file is not None:
            file.abandon()
        (_folder / "derived").unlink(missing_ok=True)


def _compare(instance: Instance) -> None:
    """What is derived of a file that can be read has its HU."""
    from ctdenoise.series.pixels import read_frames as read_file

    pairs = zip(read_file(instance.path), read_file(_folder / "derived"), strict=True)
    for before, after in pairs:
        np.testing.assert_array_equal(before.hu, after.hu)
        np.testing.assert_array_equal(before.padding, after.padding)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    atheris.Setup(sys.argv, read, custom_mutator=damage)
    atheris.Fuzz()
