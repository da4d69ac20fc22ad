"""Values that a single-frame file has at its top and a multi-frame file in functional groups."""

from __future__ import annotations

from typing import Any

from pydicom import Dataset

from ctdenoise.series.geometry import Plane
from ctdenoise.series.lut import has_lut, lut_rescale

_GROUP_OF = {
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "RescaleType": "PixelValueTransformationSequence",
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
}
_SLOPES = 1e-6, 1e4
_LARGEST_INTERCEPT = 1e6
"""No HU come of other numbers, NaN among them: they are damage."""

_FARTHEST_MM = 1e6


def image_type(header: Dataset) -> list[str]:
    """The values of the image type; a file with one value alone has no list."""
    values = header.get("ImageType") or []
    return [values] if isinstance(values, str) else [str(value) for value in values]


def frame_count(header: Dataset) -> int:
    """Number of frames; 1 for a single-frame image."""
    return max(1, int(header.get("NumberOfFrames") or 1))


def group_value(header: Dataset, frame: int, keyword: str) -> Any:
    """The value of ``keyword`` for a frame: its own, the shared one, or the file's.

    Source: DICOM PS3.3 section C.7.6.16, Multi-frame Functional Groups.
    """
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    groups = list(per_frame[frame : frame + 1])
    groups += header.get("SharedFunctionalGroupsSequence") or []
    for group in groups:
        for item in group.get(_GROUP_OF[keyword]) or []:
            if keyword in item:
                return item[keyword].value
    return header.get(keyword)


def rescale(header: Dataset, frame: int) -> tuple[float, float] | None:
    """Rescale slope and intercept of a frame, or None where they are missing or unusable.

    A Modality LUT counts as the rescale that it stands for.

    Raises:
        DamagedError: the Modality LUT stands for none.
    """
    if has_lut(header):
        return lut_rescale(header)
    slope = group_value(header, frame, "RescaleSlope")
    intercept = group_value(header, frame, "RescaleIntercept")
    if slope is None or intercept is None:
        return None
    try:
        slope, intercept = float(slope), float(intercept)
    except (TypeError, ValueError):
        return None
    usable = _SLOPES[0] <= abs(slope) <= _SLOPES[1] and abs(intercept) <= _LARGEST_INTERCEPT
    return (slope, intercept) if usable else None


def frame_plane(header: Dataset, frame: int) -> Plane | None:
    """The plane of a frame, or None where the file does not say."""
    position = group_value(header, frame, "ImagePositionPatient")
    orientation = group_value(header, frame, "ImageOrientationPatient")
    if not position or not orientation or len(position) != 3 or len(orientation) != 6:
        return None
    values = [float(v) for v in (*position, *orientation)]
    if not all(abs(v) <= _FARTHEST_MM for v in values):
        return None
    return Plane(position=tuple(values[:3]), orientation=tuple(values[3:]))
