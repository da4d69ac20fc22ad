"""Small whole files of many formats, from which damaged ones are made."""

from __future__ import annotations

import copy
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

_SIDE = 32


def write_seeds(sample: Path, folder: Path) -> None:
    """Write the files, each of 32 x 32 pixels, that an example of CT makes.

    Args:
        sample: a CT slice, explicit little endian and unsigned.
        folder: where to; it must exist.
    """
    whole = pydicom.dcmread(sample)
    stored = np.ascontiguousarray(whole.pixel_array[240 : 240 + _SIDE, 180 : 180 + _SIDE])
    base = _small(whole, stored)
    _save(base, folder / "explicit")
    _save(_signed(base, stored), folder / "signed")
    _save(_with_lut(base), folder / "lut")
    _save(_frames(base, stored), folder / "frames")
    _save(_frames(base, stored), folder / "frames_rle", RLELossless)
    for name, syntax in (
        ("implicit", ImplicitVRLittleEndian),
        ("deflated", DeflatedExplicitVRLittleEndian),
        ("rle", RLELossless),
        ("jpeg_ls", JPEGLSLossless),
        ("jpeg_2000", JPEG2000Lossless),
    ):
        _save(base, folder / name, syntax)
    big = copy.deepcopy(base)
    big.PixelData = stored.astype(">u2").tobytes()
    big.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    pydicom.dcmwrite(folder / "big_endian", big, implicit_vr=False, little_endian=False)
    (folder / "bare").write_bytes((folder / "explicit").read_bytes()[132:])
    hu = np.stack([stored.astype(np.int16) - 1024] * 3).T
    for name in ("volume.nii", "volume.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(hu, np.eye(4)), folder / name)


def _small(whole: Dataset, stored: np.ndarray) -> Dataset:
    small = copy.deepcopy(whole)
    small.Rows = small.Columns = _SIDE
    small.PixelData = stored.tobytes()
    small.add_new("PixelPaddingValue", "US", 0)
    small.add_new("PixelPaddingRangeLimit", "US", 3)
    return small


def _signed(base: Dataset, stored: np.ndarray) -> Dataset:
    signed = copy.deepcopy(base)
    signed.PixelRepresentation, signed.RescaleIntercept = 1, "0"
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        delattr(signed, keyword)
    signed.PixelData = (stored.astype(np.int16) - 1024).tobytes()
    return signed


def _with_lut(base: Dataset) -> Dataset:
    made, lut = copy.deepcopy(base), Dataset()
    lut.add_new("LUTDescriptor", "US", [4096, 0, 16])
    lut.ModalityLUTType = "HU"
    lut.add_new("LUTData", "OW", ((np.arange(4096) - 1024) % 65536).astype("<u2").tobytes())
    made.ModalityLUTSequence = Sequence([lut])
    del made.RescaleSlope, made.RescaleIntercept
    return made


def _frames(base: Dataset, stored: np.ndarray) -> Dataset:
    made, scale, orientation = copy.deepcopy(base), Dataset(), Dataset()
    scale.RescaleSlope, scale.RescaleIntercept, scale.RescaleType = 1, -1024, "HU"
    orientation.ImageOrientationPatient = base.ImageOrientationPatient
    shared = Dataset()
    shared.PixelValueTransformationSequence = Sequence([scale])
    shared.PlaneOrientationSequence = Sequence([orientation])
    groups = []
    for place in range(3):
        position, group = Dataset(), Dataset()
        position.ImagePositionPatient = [0.0, 0.0, float(place)]
        group.PlanePositionSequence = Sequence([position])
        groups.append(group)
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    made.SharedFunctionalGroupsSequence = Sequence([shared])
    made.PerFrameFunctionalGroupsSequence = Sequence(groups)
    made.NumberOfFrames = 3
    made.PixelData = np.stack([stored] * 3).tobytes()
    return made


def _save(dataset: Dataset, path: Path, syntax: UID | None = None) -> None:
    made = copy.deepcopy(dataset)
    if syntax is not None and syntax.is_encapsulated:
        made.compress(syntax, generate_instance_uid=False)
    elif syntax is not None:
        made.file_meta.TransferSyntaxUID = syntax
    made.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
