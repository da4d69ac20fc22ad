"""Series in which everything that may tell who a patient is has a mark."""

from __future__ import annotations

import re
from pathlib import Path

import pydicom
from pydicom import Dataset
from pydicom.sequence import Sequence

from tests.made import make

CANARY = "Xanthippe"
DIGITS = "8675309"
DATE = "19470213"
SAID = re.compile(f"{CANARY}|{DIGITS}|{DATE}", re.IGNORECASE)

_VALUES = {
    "PN": f"{CANARY}^Q",
    "DA": DATE,
    "DT": f"{DATE}101112",
    "UI": f"1.2.3.{DIGITS}",
    **dict.fromkeys(("LO", "SH", "LT", "ST", "UT", "UC", "AE"), CANARY),
}
# What the profile keeps says what the image is, or is of the program's own making.
_OF_THE_IMAGE = (
    "SOPClassUID",
    "Manufacturer",
    "ManufacturerModelName",
    "SoftwareVersions",
    "ConvolutionKernel",
    "FilterType",
    "WindowCenterWidthExplanation",
    "CodeValue",
    "CodingSchemeDesignator",
    "CodeMeaning",
    "PositionReferenceIndicator",
)
_MORE = (
    "AccessionNumber",
    "AcquisitionDate",
    "AcquisitionDateTime",
    "AdditionalPatientHistory",
    "AdmittingDiagnosesDescription",
    "Allergies",
    "ContentDate",
    "ContributionDescription",
    "DeidentificationMethod",
    "DerivationDescription",
    "DeviceSerialNumber",
    "DeviceUID",
    "EthnicGroup",
    "FrameOfReferenceUID",
    "ImageComments",
    "InstitutionAddress",
    "InstitutionName",
    "MedicalAlerts",
    "Occupation",
    "OperatorsName",
    "OtherPatientNames",
    "PatientAddress",
    "PatientBirthDate",
    "PatientBirthName",
    "PatientComments",
    "PatientTelephoneNumbers",
    "PhysiciansOfRecord",
    "ProtocolName",
    "ReferringPhysicianName",
    "RequestedProcedureDescription",
    "RequestingPhysician",
    "SeriesDate",
    "SeriesDescription",
    "StationName",
    "StudyDate",
    "StudyDescription",
    "StudyID",
    "StudyInstanceUID",
)


def fill(dataset: Dataset, number: int) -> None:
    """Put the canary into each element that can hold it, of items as well."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                fill(item, number)
        elif element.VR in _VALUES and element.keyword not in _OF_THE_IMAGE:
            element.value = _VALUES[element.VR]
    if "StudyInstanceUID" in dataset:
        dataset.StudyInstanceUID = f"1.2.4.{DIGITS}"
    if "SOPInstanceUID" in dataset:
        dataset.SOPInstanceUID = f"1.2.3.{DIGITS}.{number}"


def marked_header(dataset: Dataset, number: int) -> None:
    """A header in which everything that may tell who the patient is has the canary."""
    for keyword in _MORE:
        vr = pydicom.datadict.dictionary_VR(pydicom.datadict.tag_for_keyword(keyword))
        setattr(dataset, keyword, _VALUES.get(vr, CANARY))
    nested, deeper = Dataset(), Dataset()
    nested.PatientName = deeper.ReferringPhysicianName = CANARY
    nested.ScheduledProcedureStepDescription = CANARY
    deeper.ReferencedSOPInstanceUID = f"1.2.3.{DIGITS}"
    deeper.ReferencedSOPClassUID = dataset.SOPClassUID
    nested.ReferencedSOPSequence = Sequence([deeper])
    dataset.RequestAttributesSequence = Sequence([nested])
    dataset.ReferencedStudySequence = Sequence([deeper])
    if "NumberOfFrames" in dataset:
        context = Dataset()
        context.ValueType, context.TextValue = "TEXT", CANARY
        dataset.AcquisitionContextSequence = Sequence([context])
    dataset.add_new(0x60003000, "OW", CANARY.encode() + b"e")
    dataset.add_new(0x60004000, "LT", CANARY)
    dataset.private_block(0x0009, CANARY, create=True).add_new(1, "LO", CANARY)
    fill(dataset, number)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.SourceApplicationEntityTitle = CANARY
    dataset.preamble = CANARY.encode().ljust(128, b"\0")


def make_marked(tmp_path: Path) -> Path:
    """Three slices with the canary in headers, names and folders."""
    folder = tmp_path / f"{CANARY}^Q" / f"{DATE} {DIGITS}"
    made = make("series", folder, 3, side=64)
    for number, path in enumerate(sorted(made.iterdir())):
        dataset = pydicom.dcmread(path)
        marked_header(dataset, number)
        dataset.save_as(path.with_name(f"{CANARY}{number}.dcm"), enforce_file_format=True)
        path.unlink()
    return folder
