"""Series of any length, made of the sample: one file a slice, one file of many frames, a volume."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedCTImageStorage, generate_uid

from tests.conftest import SAMPLE

KINDS = ("series", "frames", "volume")


def make(kind: str, folder: Path, count: int, side: int = 64) -> Path:
    """An input of ``count`` slices of ``side`` x ``side`` pixels, of a kind of :data:`KINDS`."""
    folder.mkdir(parents=True, exist_ok=True)
    return {"series": _series, "frames": _frames, "volume": _volume}[kind](folder, count, side)


def _series(folder: Path, count: int, side: int) -> Path:
    sources, pixels = _sample(side)
    uid = generate_uid()
    for place in range(count):
        dataset = sources[place % len(sources)]
        dataset.Rows = dataset.Columns = side
        dataset.PixelData = pixels[place % len(pixels)].tobytes()
        dataset.SeriesInstanceUID = uid
        dataset.SOPInstanceUID = f"{uid[:50]}.{place}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.ImagePositionPatient = [0.0, 0.0, float(place)]
        dataset.save_as(folder / f"{place:04d}.dcm")
    return folder


def _frames(folder: Path, count: int, side: int) -> Path:
    sources, pixels = _sample(side)
    dataset = sources[0]
    geometry, scale, orientation = Dataset(), Dataset(), Dataset()
    geometry.PixelSpacing, geometry.SliceThickness = dataset.PixelSpacing, 1
    scale.RescaleSlope, scale.RescaleIntercept, scale.RescaleType = 1, -1024, "HU"
    orientation.ImageOrientationPatient = dataset.ImageOrientationPatient
    shared = Dataset()
    shared.PixelMeasuresSequence = Sequence([geometry])
    shared.PixelValueTransformationSequence = Sequence([scale])
    shared.PlaneOrientationSequence = Sequence([orientation])
    groups = []
    for place in range(count):
        position, group = Dataset(), Dataset()
        position.ImagePositionPatient = [0.0, 0.0, float(place)]
        group.PlanePositionSequence = Sequence([position])
        groups.append(group)
    for keyword in ("ImagePositionPatient", "RescaleSlope", "RescaleIntercept", "PixelSpacing"):
        delattr(dataset, keyword)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    dataset.NumberOfFrames = count
    dataset.Rows = dataset.Columns = side
    order = np.arange(count) % len(pixels)
    dataset.PixelData = pixels[order].tobytes()
    dataset.save_as(folder / "frames.dcm")
    return folder / "frames.dcm"


def _volume(folder: Path, count: int, side: int) -> Path:
    _, pixels = _sample(side)
    hu = pixels[np.arange(count) % len(pixels)].astype(np.int16) - 1024
    image = nibabel.Nifti1Image(hu.T, np.diag([-0.7, -0.7, 1.0, 1.0]))
    nibabel.save(image, folder / "volume.nii.gz")
    return folder / "volume.nii.gz"


def _sample(side: int) -> tuple[list[Dataset], np.ndarray]:
    sources = [pydicom.dcmread(path) for path in sorted(SAMPLE.glob("*.dcm"))]
    pixels = [dataset.pixel_array for dataset in sources]
    begin = 256 - min(side, 512) // 2
    whole = np.stack(pixels)[:, begin : begin + side, begin : begin + side]
    return sources, np.ascontiguousarray(whole)
