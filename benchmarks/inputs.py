"""What the benchmarks denoise, made of the sample series: of any length, in any format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import UID, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

SAMPLE = Path(__file__).resolve().parents[1] / "sample_dicom"


def sample() -> list[Dataset]:
    """The slices of the sample series, in order."""
    return [pydicom.dcmread(path) for path in sorted(SAMPLE.glob("*.dcm"))]


def sample_hu() -> NDArray[np.float32]:
    """HU (N, 512, 512) of the sample series."""
    return np.stack(
        [
            d.pixel_array * np.float32(d.RescaleSlope) + np.float32(d.RescaleIntercept)
            for d in sample()
        ]
    ).astype(np.float32)


def make_series(folder: Path, count: int, side: int = 512) -> Path:
    """``count`` DICOM files of one series, the sample's slices over and over, 1 mm apart."""
    folder.mkdir(parents=True)
    slices = sample()
    pixels = [_middle(dataset, side) for dataset in slices]
    uid = generate_uid()
    for place in range(count):
        dataset, kept = slices[place % len(slices)], pixels[place % len(slices)]
        _set_pixels(dataset, kept, side)
        dataset.SeriesInstanceUID = uid
        dataset.InstanceNumber = place + 1
        dataset.ImagePositionPatient = [*dataset.ImagePositionPatient[:2], float(place)]
        dataset.SliceLocation = float(place)
        _save(dataset, folder / f"{place:04d}.dcm")
    return folder


def make_frames(folder: Path, count: int, side: int = 512) -> Path:
    """One Enhanced CT file of ``count`` frames."""
    folder.mkdir(parents=True)
    slices = sample()
    dataset, pixels = slices[0], [_middle(one, side) for one in slices]
    shared = {
        "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
        "PlaneOrientationSequence": ("ImageOrientationPatient",),
        "PixelValueTransformationSequence": ("RescaleSlope", "RescaleIntercept"),
    }
    groups = Dataset()
    for name, keywords in shared.items():
        setattr(groups, name, [_item({word: dataset[word].value for word in keywords})])
    groups.PixelValueTransformationSequence[0].RescaleType = "HU"
    x, y = dataset.ImagePositionPatient[:2]
    for keyword in ("ImagePositionPatient", *(word for words in shared.values() for word in words)):
        del dataset[keyword]
    dataset.SharedFunctionalGroupsSequence = [groups]
    dataset.PerFrameFunctionalGroupsSequence = [
        _item({"PlanePositionSequence": [_item({"ImagePositionPatient": [x, y, float(place)]})]})
        for place in range(count)
    ]
    dataset.NumberOfFrames = count
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    _set_pixels(dataset, np.stack([pixels[i % len(pixels)] for i in range(count)]), side)
    _save(dataset, folder / "frames.dcm")
    return folder


def make_volume(folder: Path, count: int, side: int = 512) -> Path:
    """One compressed NIfTI volume of ``count`` slices."""
    folder.mkdir(parents=True)
    slices = [_middle(dataset, side).astype(np.int16) - 1024 for dataset in sample()]
    hu = np.stack([slices[i % len(slices)] for i in range(count)])
    image = nibabel.Nifti1Image(hu.T, np.diag([-0.65, -0.65, 1.0, 1.0]))
    nibabel.save(image, folder / "volume.nii.gz")
    return folder / "volume.nii.gz"


def make_slice(path: Path, syntax: UID = ExplicitVRLittleEndian) -> Path:
    """One slice of the sample in a transfer syntax."""
    dataset = sample()[0]
    if syntax.is_encapsulated:
        dataset.compress(syntax)
    else:
        dataset.file_meta.TransferSyntaxUID = syntax
    _save(dataset, path)
    return path


def _middle(dataset: Dataset, side: int) -> NDArray[Any]:
    """The middle of a slice, or the whole."""
    begin = (dataset.Rows - side) // 2
    return np.ascontiguousarray(dataset.pixel_array[begin : begin + side, begin : begin + side])


def _set_pixels(dataset: Dataset, pixels: NDArray[Any], side: int) -> None:
    dataset.Rows = dataset.Columns = side
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def _save(dataset: Dataset, path: Path) -> None:
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.save_as(path, enforce_file_format=True)


def _item(values: dict[str, Sequence[Any] | Any]) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item
