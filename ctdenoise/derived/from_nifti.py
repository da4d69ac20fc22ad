"""DICOM headers for the slices of a NIfTI volume."""

from __future__ import annotations

import uuid

import nibabel
import numpy as np
from pydicom import Dataset
from pydicom.uid import CTImageStorage

PADDING = -32768
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "ctdenoise nifti")


def slice_uids(image: nibabel.Nifti1Image, name: str) -> list[str]:
    """SOP Instance UIDs of the slices along the third axis; of the volume and its name only."""
    content = _content(image, name)
    return [_slice_uid(content, index) for index in range(image.shape[2])]


def slice_header(image: nibabel.Nifti1Image, name: str, index: int) -> Dataset:
    """The CT image header, without pixels, of a slice along the third axis.

    NIfTI knows no patient and no scanner: what DICOM requires to be there is there and empty.
    The stored values are 16-bit signed HU. UIDs depend on the volume and its name only.
    """
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    row, column = affine[:3, 0] / spacing[0], affine[:3, 1] / spacing[1]
    position = affine @ np.array([0.0, 0.0, index, 1.0])
    header = _blank(_content(image, name), index)
    header.Columns, header.Rows = image.shape[:2]
    header.ImagePositionPatient = [f"{v:.10g}"[:16] for v in position[:3]]
    header.ImageOrientationPatient = [f"{v:.10g}"[:16] for v in (*row, *column)]
    header.PixelSpacing = [f"{spacing[1]:.10g}", f"{spacing[0]:.10g}"]
    header.SliceThickness = f"{spacing[2]:.10g}"
    return header


def _content(image: nibabel.Nifti1Image, name: str) -> str:
    return f"{name} {image.shape} {image.affine.tolist()}"


def _slice_uid(content: str, index: int) -> str:
    return _uid(f"{content} slice {index}")


def _blank(content: str, index: int) -> Dataset:
    header = Dataset()
    header.SOPClassUID = CTImageStorage
    header.SOPInstanceUID = _slice_uid(content, index)
    header.StudyInstanceUID = _uid(f"{content} study")
    header.SeriesInstanceUID = _uid(f"{content} series")
    header.FrameOfReferenceUID = _uid(f"{content} frame of reference")
    header.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    header.Modality = "CT"
    header.InstanceNumber = index + 1
    for keyword in (
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "ReferringPhysicianName",
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyID",
        "PositionReferenceIndicator",
        "PatientPosition",
        "Laterality",
        "KVP",
        "AcquisitionNumber",
    ):
        setattr(header, keyword, None if keyword in ("KVP", "AcquisitionNumber") else "")
    header.SamplesPerPixel = 1
    header.PhotometricInterpretation = "MONOCHROME2"
    header.BitsAllocated = header.BitsStored = 16
    header.HighBit = 15
    header.PixelRepresentation = 1
    header.add_new("PixelPaddingValue", "SS", PADDING)
    header.RescaleSlope, header.RescaleIntercept, header.RescaleType = "1", "0", "HU"
    return header


def _uid(text: str) -> str:
    return f"2.25.{uuid.uuid5(_NAMESPACE, text).int}"
