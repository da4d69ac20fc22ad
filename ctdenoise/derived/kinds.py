"""Elements whose value is of another kind than DICOM says, in files that are damaged."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword

_SET_ANEW = (
    *("SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription"),
    *("SeriesDate", "SeriesTime", "ContentDate", "ContentTime", "ContentQualification"),
    *("InstanceCreationDate", "InstanceCreationTime", "ImageType", "RescaleType"),
    *("DerivationDescription", "DerivationCodeSequence", "SourceImageSequence"),
    *("SourceImageEvidenceSequence", "ContributingEquipmentSequence", "Manufacturer"),
    *("ManufacturerModelName", "SoftwareVersions", "DeviceSerialNumber"),
    *("LossyImageCompression", "LossyImageCompressionMethod"),
)
_SET_ANEW_IN_GROUPS = ("FrameType", "RescaleType", "DerivationImageSequence")


def drop_of_wrong_kind(derived: Dataset, groups: Iterable[Dataset]) -> None:
    """Take out what will be set, where the source has it as another kind of value.

    A value that is set keeps the kind of the one before it, as which it could not be written.

    Args:
        derived: the dataset.
        groups: its functional groups.
    """
    _drop(derived, _SET_ANEW)
    for group in groups:
        _drop(group, _SET_ANEW_IN_GROUPS)
        for element in group:
            for item in element.value if element.VR == "SQ" else ():
                _drop(item, _SET_ANEW_IN_GROUPS)


def _drop(dataset: Dataset, keywords: Iterable[str]) -> None:
    for keyword in keywords:
        tag = tag_for_keyword(keyword)
        if tag is not None and tag in dataset and dictionary_VR(tag) != dataset[tag].VR:
            del dataset[tag]
