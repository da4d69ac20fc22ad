"""Small CT slices in many formats, made of the sample, with the HU that they hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.sequence import Sequence

from tests.conftest import SAMPLE

SIDE = 64


def slice_of_sample(place: int = 0, side: int = SIDE) -> Dataset:
    """A slice of the sample series, cut to a part that has air, lung, fat and bone in it."""
    dataset = pydicom.dcmread(sorted(SAMPLE.glob("*.dcm"))[place])
    part = dataset.pixel_array[230 : 230 + side, 60 : 60 + side]
    dataset.Rows = dataset.Columns = side
    dataset.PixelData = np.ascontiguousarray(part).tobytes()
    return dataset


def hu_of(dataset: Dataset) -> np.ndarray:
    """HU as pydicom decodes the values, or of a dataset that is not compressed yet."""
    return dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)


def put_stored(
    dataset: Dataset, stored: np.ndarray, *, bits: int, signed: bool, high: int | None = None
) -> Dataset:
    """Give a dataset other stored values, in words of 16 bits."""
    dataset.BitsAllocated, dataset.BitsStored = 16, bits
    dataset.HighBit = bits - 1 if high is None else high
    dataset.PixelRepresentation = int(signed)
    dataset.PixelData = stored.astype(np.int64).astype(np.uint16).tobytes()
    return dataset


def put_lut(dataset: Dataset, first: int, entries: np.ndarray) -> Dataset:
    """Give a dataset a Modality LUT in the place of its rescale."""
    lut = Dataset()
    lut.add_new("LUTDescriptor", "US", [len(entries), first % 65536, 16])
    lut.ModalityLUTType = "HU"
    lut.add_new("LUTData", "OW", (entries % 65536).astype("<u2").tobytes())
    dataset.ModalityLUTSequence = Sequence([lut])
    del dataset.RescaleSlope, dataset.RescaleIntercept
    return dataset


def save(dataset: Dataset, path: Path, **encoding: bool) -> Path:
    """Write a dataset with a UID that agrees with its file meta information."""
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, **encoding)
    return path
