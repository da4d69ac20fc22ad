"""A header without what may tell who the patient is."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache
from typing import Any

from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import Tag
from pydicom.uid import UID

from ctdenoise import __version__
from ctdenoise.errors import CTDenoiseError

NO_DATE = datetime(1900, 1, 1)
"""Stands for each date and time of a de-identified series."""

_NO_TIME = {"DA": "19000101", "TM": "000000", "DT": "19000101000000"}
_OF_THE_STANDARD = "1.2.840.10008."
_ACQUISITION_CONTEXT = (0x0040, 0x0555)
_PROFILE = "dicomfields_2026c"
_Rules = dict[tuple[int, ...], Callable[[Dataset, tuple[int, ...]], None]]


def deidentified(header: Dataset) -> Dataset:
    """The header after the Basic Application Level Confidentiality Profile; it is changed.

    A UID becomes a digest of itself, the same wherever it is, and so does the patient's ID, which
    is that of the study: studies of one patient can no more be told to be so. Pixels are not
    looked at.

    Raises:
        CTDenoiseError: the pixels are said to hold text, or an attribute has no dummy value.

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
    """Do what the profile says to a dataset, not to the items in it."""
    from dicomanonymizer.simpledicomanonymizer import anonymize_dataset

    there = {(tag.group, tag.element) for tag in dataset.keys()}  # noqa: SIM118
    wanted = {tag: do for tag, do in _rules().items() if len(tag) > 2 or tag in there}
    anonymize_dataset(dataset, base_rules_gen=lambda: wanted)
    for element in dataset:
        tag = (element.tag.group, element.tag.element)
        if element.VR in _NO_TIME and element.value and tag in wanted:
            element.value = _NO_TIME[element.VR]


@cache
def _rules() -> _Rules:
    """What to do to which attribute; UIDs, in references as well, are done already."""
    from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
    from dicomanonymizer.simpledicomanonymizer import initialize_actions

    tags: Any = dicom_anonymization_database_selector(_PROFILE)
    done = {*tags["U_TAGS"], *tags["X_Z_U_STAR_TAGS"]}
    rules: _Rules = initialize_actions(_PROFILE)
    # Where the profile leaves the choice: items of dummy values would be of no standard.
    removable = {*tags["X_Z_TAGS"], *tags["X_D_TAGS"], *tags["X_Z_D_TAGS"]}
    rules |= {tag: _remove for tag in removable if dictionary_VR(tag) == "SQ"}
    # Multi-frame CT must have it, with or without items.
    rules[_ACQUISITION_CONTEXT] = _remove_items
    return {tag: do for tag, do in rules.items() if tag not in done}


def _remove(dataset: Dataset, tag: tuple[int, ...]) -> None:
    dataset.pop(Tag(tag[0], tag[1]), None)


def _remove_items(dataset: Dataset, tag: tuple[int, ...]) -> None:
    dataset[Tag(tag[0], tag[1])].value = Sequence()
