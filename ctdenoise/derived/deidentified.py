"""A header without what may tell who the patient is."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache
from typing import Any

from pydicom import Dataset
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from ctdenoise import __version__
from ctdenoise.errors import CTDenoiseError

NO_DATE = datetime(1900, 1, 1)
"""Stands for each date and time of a de-identified series."""

_NO_TIME = {"DA": "19000101", "TM": "000000", "DT": "19000101000000"}
_OF_THE_STANDARD = "1.2.840.10008."
_ACQUISITION_CONTEXT = (0x0040, 0x0555)
_LUT_LABEL = (0x0040, 0x9210)
_PROFILE = "dicomfields_2026c"
_PATIENT = 0x0010
# The profile's table lacks what is rare; of these groups, and of these kinds, it goes as well.
_OF_PATIENTS_AND_VISITS = frozenset({0x0008, 0x0032, 0x0038, 0x0040})
_WORDS = frozenset({"AE", "AS", "CS", "LO", "LT", "OB", "OW", "SH", "ST", "UC", "UT"})
_NOWHERE = frozenset({"DA", "DT", "PN", "TM", "UN", "UR"})
_CURVES_AND_OVERLAYS = frozenset({0x5000, 0x6000})
# They say what the image, its maker or a code is.
_KEPT = frozenset(
    {
        *("SpecificCharacterSet", "ImageType", "Modality", "Manufacturer", "ManufacturerModelName"),
        *("ConversionType", "PresentationIntentType", "SyntheticData", "FrameType"),
        *("PixelPresentation", "VolumetricProperties", "VolumeBasedCalculationTechnique"),
        *("CodeValue", "LongCodeValue", "URNCodeValue", "CodingSchemeDesignator", "CodeMeaning"),
        *("CodingSchemeVersion", "ContextIdentifier", "ContextGroupExtensionFlag"),
        *("MappingResource", "ValueType", "LossyImageCompressionRetired"),
        *("QualityControlSubject", "AnatomicalOrientationType"),
    }
)
_Rules = dict[tuple[int, ...], Callable[[Dataset, tuple[int, ...]], None]]


def deidentified(header: Dataset) -> Dataset:
    """The header after the Basic Application Level Confidentiality Profile; it is changed.

    A UID becomes a digest of itself, the same wherever it is, and so does the patient's ID, which
    is that of the study: studies of one patient can no more be told to be so. Pixels are not
    looked at.

    Raises:
        CTDenoiseError: the pixels are said to hold text, or an attribute has no dummy value.

    What the profile does not name goes as well where it is unknown to the standard, or may tell
    of the patient, the visit or a day.

    Source: DICOM PS3.15 annex E, by dicom-anonymizer.
    """
    if str(header.get("BurnedInAnnotation") or "").upper() == "YES":
        raise CTDenoiseError("its pixels are said to hold text, which is not removed: not written")
    for dataset in _with_items(header):
        _replace_uids(dataset)
    try:
        for dataset in _with_items(header):
            _apply_profile(dataset)
    except NotImplementedError as error:
        raise CTDenoiseError(f"cannot be de-identified: {error}") from None
    header.preamble = None
    header.PatientName = header.PatientID = _pseudonym(header)
    header.PatientIdentityRemoved = "YES"
    header.DeidentificationMethod = f"ctdenoise {__version__}, pixels not looked at"
    header.LongitudinalTemporalInformationModified = "REMOVED"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = "113100", "DCM"
    code.CodeMeaning = "Basic Application Confidentiality Profile"
    header.DeidentificationMethodCodeSequence = Sequence([code])
    return header


def _with_items(dataset: Dataset) -> Iterator[Dataset]:
    """A dataset, and then those in what it still holds."""
    yield dataset
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from _with_items(item)


def _replace_uids(dataset: Dataset) -> None:
    for element in dataset:
        if element.VR == "UI" and isinstance(element.value, MultiValue):
            element.value = [_digest(uid) for uid in element.value]
        elif element.VR == "UI" and element.value:
            element.value = _digest(element.value)


def _digest(uid: str) -> UID:
    if uid.startswith(_OF_THE_STANDARD):
        return UID(uid)
    half = hashlib.sha256(f"ctdenoise {uid}".encode()).digest()[:16]
    return UID(f"2.25.{uuid.UUID(bytes=half, version=4).int}")


def _pseudonym(header: Dataset) -> str:
    return f"ANON{hashlib.sha256(str(header.StudyInstanceUID).encode()).hexdigest()[:12].upper()}"


def _apply_profile(dataset: Dataset) -> None:
    """Do what the profile says, and what it lacks, to a dataset, not to the items in it."""
    from dicomanonymizer.simpledicomanonymizer import anonymize_dataset

    there = {(tag.group, tag.element) for tag in dataset.keys()}  # noqa: SIM118
    wanted = {tag: do for tag, do in _rules().items() if len(tag) > 2 or tag in there}
    anonymize_dataset(dataset, base_rules_gen=lambda: wanted)
    for element in dataset:
        tag = (element.tag.group, element.tag.element)
        if element.VR in _NO_TIME and element.value and tag in wanted:
            element.value = _NO_TIME[element.VR]
    for element in list(dataset):
        if _may_tell(element.tag, element.VR):
            del dataset[element.tag]


def _may_tell(tag: BaseTag, vr: str) -> bool:
    """Whether an element that is still there may tell of the patient."""
    keyword = keyword_for_tag(tag)
    if not keyword or tag.group & 0xFF00 in _CURVES_AND_OVERLAYS:
        return True
    if keyword in _KEPT or (tag.group, tag.element) in _rules():
        return False
    if vr in _NOWHERE:
        return True
    if tag.group == _PATIENT:
        return vr != "SQ"
    return tag.group in _OF_PATIENTS_AND_VISITS and vr in _WORDS


@cache
def _rules() -> _Rules:
    """What to do to which attribute; UIDs, in references as well, are done already."""
    from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
    from dicomanonymizer.simpledicomanonymizer import initialize_actions, replace

    tags: Any = dicom_anonymization_database_selector(_PROFILE)
    done = {*tags["U_TAGS"], *tags["X_Z_U_STAR_TAGS"]}
    rules: _Rules = initialize_actions(_PROFILE)
    # Where the profile leaves the choice: items of dummy values would be of no standard.
    removable = {*tags["X_Z_TAGS"], *tags["X_D_TAGS"], *tags["X_Z_D_TAGS"]}
    rules |= {tag: _remove for tag in removable if dictionary_VR(tag) == "SQ"}
    rules[_LUT_LABEL] = replace  # where it is there, it must be
    # Multi-frame CT must have it, with or without items.
    rules[_ACQUISITION_CONTEXT] = _remove_items
    return {tag: do for tag, do in rules.items() if tag not in done}


def _remove(dataset: Dataset, tag: tuple[int, ...]) -> None:
    dataset.pop(Tag(tag[0], tag[1]), None)


def _remove_items(dataset: Dataset, tag: tuple[int, ...]) -> None:
    dataset[Tag(tag[0], tag[1])].value = Sequence()
