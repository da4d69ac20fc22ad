"""A derived DICOM dataset: the source's, with new pixels, and honest about where it is from."""

from __future__ import annotations

import copy
from datetime import datetime

import numpy as np
from pydicom import DataElement, Dataset
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
)

from ctdenoise import __version__
from ctdenoise.derived.deidentified import NO_DATE, deidentified
from ctdenoise.derived.kinds import drop_of_wrong_kind
from ctdenoise.derived.provenance import NAME, Derivation
from ctdenoise.series.dicom import series_number
from ctdenoise.series.frames import image_type

IMPLEMENTATION_CLASS_UID = UID("2.25.302871834521973468145519046871234865309")
SERIES_NUMBER_OFFSET = 1000

# Of the source's pixels or of its signature: not true of the new ones.
_STALE = (
    "SmallestImagePixelValue",
    "LargestImagePixelValue",
    "SmallestPixelValueInSeries",
    "LargestPixelValueInSeries",
    "IconImageSequence",
    "DigitalSignaturesSequence",
    "MACParametersSequence",
    "PixelDataProviderURL",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "FloatPixelPaddingValue",
)
_FIRST_GROUP = 0x0008
"""Lower ones are those of messages, file meta information and directories."""
_LOSSY = {
    JPEGBaseline8Bit: "ISO_10918_1",
    JPEGExtended12Bit: "ISO_10918_1",
    JPEGLSNearLossless: "ISO_14495_1",
}
_WORD_SIZES = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}
# The scanner's: moved to the Contributing Equipment Sequence.
_EQUIPMENT = (
    "Manufacturer",
    "InstitutionName",
    "InstitutionAddress",
    "StationName",
    "InstitutionalDepartmentName",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "DeviceUID",
    "SpatialResolution",
    "DateOfLastCalibration",
    "TimeOfLastCalibration",
)


def derive(source: Dataset, provenance: Derivation, when: datetime) -> Dataset:
    """The derived dataset of one instance but for its pixel data; the source is left as it is.

    Args:
        source: the source's dataset, without its pixel data.
        provenance: what makes the pixels, which have the source's bits and rescale.
        when: date and time of the creation.

    Source: DICOM PS3.3 sections C.7.6.1.1.2 (derived image), C.12.4 (derivation), C.12.1.1.5
    (contributing equipment), C.7.6.16.2.6 (derivation of a frame).
    """
    original = source
    if provenance.deidentify:
        source, when = deidentified(_as_little_endian(source, keep_private=False)), NO_DATE
    derived = _as_little_endian(source, keep_private=provenance.keep_private)
    for keyword in _STALE:
        if keyword in derived:
            delattr(derived, keyword)
    drop_of_wrong_kind(derived, _functional_groups(derived))
    derived.SOPInstanceUID = provenance.derive_uid(original.SOPInstanceUID)
    derived.SeriesInstanceUID = provenance.derive_uid(original.SeriesInstanceUID)
    _set_description(derived, source, provenance, when)
    _set_image_type(derived, provenance)
    _set_derivation(derived, source, provenance)
    _set_equipment(derived, source, provenance.contribution, when)
    _set_file_meta(derived)
    _set_lossy(derived, original)
    _set_rescale_type(derived)
    return derived


def _as_little_endian(source: Dataset, *, keep_private: bool) -> Dataset:
    """A copy that can be written as explicit little endian, whatever the source was."""
    wanted = (
        element
        for element in source.elements()
        if element.tag.group >= _FIRST_GROUP and (keep_private or not element.tag.is_private)
    )
    derived = Dataset({element.tag: _copy(element) for element in wanted})
    derived.preamble = getattr(source, "preamble", None)
    implicit, little_endian = source.original_encoding
    derived.set_original_encoding(implicit, little_endian, source.original_character_set)
    _decode(derived, keep_private=keep_private, big_endian=little_endian is False)
    derived.set_original_encoding(False, True, derived.original_character_set)
    return derived


def _copy(element: DataElement | RawDataElement) -> DataElement | RawDataElement:
    """An element to be given another value; only of sequences are the values changed as well."""
    if element.is_raw:  # not decoded yet: it cannot be changed
        return element
    return copy.deepcopy(element) if element.VR == "SQ" else copy.copy(element)


def _decode(dataset: Dataset, *, keep_private: bool, big_endian: bool) -> None:
    """Decode all elements, of sequences as well.

    pydicom turns numbers and text as it decodes; words within byte strings are left to do.
    """
    for tag in list(dataset.keys()):
        if tag.is_private and not keep_private:
            del dataset[tag]
            continue
        element = dataset[tag]
        if element.VR == "SQ":
            for item in element.value:
                _decode(item, keep_private=keep_private, big_endian=big_endian)
        elif big_endian and element.VR in _WORD_SIZES and isinstance(element.value, bytes):
            size = _WORD_SIZES[element.VR]
            words = np.frombuffer(element.value, f">u{size}")
            element.value = words.astype(f"<u{size}").tobytes()


def _set_description(
    derived: Dataset, source: Dataset, provenance: Derivation, when: datetime
) -> None:
    derived.SeriesNumber = SERIES_NUMBER_OFFSET + (series_number(source) or 0)
    suffix = f" {provenance.label}"
    description = str(source.get("SeriesDescription") or "")
    derived.SeriesDescription = (description[: 64 - len(suffix)] + suffix).strip()
    date, time = when.strftime("%Y%m%d"), when.strftime("%H%M%S")
    for keyword in ("Series", "Content", "InstanceCreation"):
        setattr(derived, keyword + "Date", date)
        setattr(derived, keyword + "Time", time)
    derived.ContentQualification = "RESEARCH"


def _set_image_type(derived: Dataset, provenance: Derivation) -> None:
    """Multi-frame CT knows no SECONDARY: PS3.3 section C.8.16.1.2 allows PRIMARY alone."""
    primary = provenance.keep_primary or derived.SOPClassUID != CTImageStorage
    second = "PRIMARY" if primary else "SECONDARY"

    def as_derived(values: list[str]) -> list[str]:
        return ["DERIVED", second, *(values[2:] or ["AXIAL"])]

    derived.ImageType = as_derived(image_type(derived))
    for group in _functional_groups(derived):
        for item in group.get("CTImageFrameTypeSequence") or []:
            item.FrameType = as_derived(list(item.get("FrameType") or []))


def _set_derivation(derived: Dataset, source: Dataset, provenance: Derivation) -> None:
    reference = Dataset()
    reference.ReferencedSOPClassUID = source.SOPClassUID
    reference.ReferencedSOPInstanceUID = source.SOPInstanceUID
    reference.PurposeOfReferenceCodeSequence = _code(
        "121322", "Source image for image processing operation"
    )
    reference.SpatialLocationsPreserved = "YES"
    code = _code(*provenance.code)
    if derived.SOPClassUID == CTImageStorage:
        derived.DerivationDescription = provenance.description()
        derived.DerivationCodeSequence = code
        derived.SourceImageSequence = Sequence([reference])
        return
    item = Dataset()
    item.DerivationDescription = provenance.description()
    item.DerivationCodeSequence = code
    item.SourceImageSequence = Sequence([reference])
    per_frame = derived.get("PerFrameFunctionalGroupsSequence") or []
    for group in per_frame:
        group.pop("DerivationImageSequence", None)
    if not derived.get("SharedFunctionalGroupsSequence"):
        derived.SharedFunctionalGroupsSequence = Sequence([Dataset()])
    derived.SharedFunctionalGroupsSequence[0].DerivationImageSequence = Sequence([item])
    derived.SourceImageEvidenceSequence = _evidence(source)


def _evidence(source: Dataset) -> Sequence:
    """Study and series of the source, which a multi-frame image names beside its UID."""
    instance = Dataset()
    instance.ReferencedSOPClassUID = source.SOPClassUID
    instance.ReferencedSOPInstanceUID = source.SOPInstanceUID
    series = Dataset()
    series.SeriesInstanceUID = source.SeriesInstanceUID
    series.ReferencedSOPSequence = Sequence([instance])
    study = Dataset()
    study.StudyInstanceUID = source.StudyInstanceUID
    study.ReferencedSeriesSequence = Sequence([series])
    return Sequence([study])


def _set_equipment(derived: Dataset, source: Dataset, contribution: str, when: datetime) -> None:
    scanner = Dataset()
    for keyword in _EQUIPMENT:
        if source.get(keyword) not in (None, ""):
            scanner[keyword] = copy.copy(source[keyword])
        if keyword in derived and not keyword.startswith("Institution"):
            delattr(derived, keyword)
    scanner.Manufacturer = source.get("Manufacturer") or "unknown"
    scanner.PurposeOfReferenceCodeSequence = _code("109101", "Acquisition Equipment")
    ourselves = Dataset()
    ourselves.Manufacturer = NAME
    ourselves.ManufacturerModelName = NAME
    ourselves.SoftwareVersions = __version__
    ourselves.ContributionDateTime = when.strftime("%Y%m%d%H%M%S")
    ourselves.ContributionDescription = contribution
    ourselves.PurposeOfReferenceCodeSequence = _code("109102", "Processing Equipment")
    before = list(derived.get("ContributingEquipmentSequence") or [])
    derived.ContributingEquipmentSequence = Sequence([*before, scanner, ourselves])
    derived.Manufacturer = NAME
    derived.ManufacturerModelName = NAME
    derived.SoftwareVersions = __version__
    if derived.SOPClassUID != CTImageStorage:
        derived.DeviceSerialNumber = "0"


def _set_file_meta(derived: Dataset) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = derived.SOPClassUID
    meta.MediaStorageSOPInstanceUID = derived.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = f"{NAME.upper()} {__version__}"[:16]
    derived.file_meta = meta


def _set_lossy(derived: Dataset, source: Dataset) -> None:
    """Pixels that were once compressed with loss stay so, also where the source denies it."""
    syntax = getattr(getattr(source, "file_meta", None), "TransferSyntaxUID", None)
    if syntax in _LOSSY and derived.get("LossyImageCompression") != "01":
        derived.LossyImageCompression = "01"
        derived.LossyImageCompressionMethod = _LOSSY[syntax]


def _set_rescale_type(derived: Dataset) -> None:
    """The rescale itself is the source's; that it gives HU is said where the source did not."""
    transformations = [
        item
        for group in _functional_groups(derived)
        for item in group.get("PixelValueTransformationSequence") or []
    ]
    for item in transformations or [derived]:
        item.RescaleType = "HU"


def _functional_groups(dataset: Dataset) -> list[Dataset]:
    return [
        *(dataset.get("SharedFunctionalGroupsSequence") or []),
        *(dataset.get("PerFrameFunctionalGroupsSequence") or []),
    ]


def _code(value: str, meaning: str) -> Sequence:
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = "DCM"
    item.CodeMeaning = meaning
    return Sequence([item])
