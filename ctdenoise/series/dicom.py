"""DICOM headers: which files are CT slices, and which series they make."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    LegacyConvertedEnhancedCTImageStorage,
)

from ctdenoise.errors import DamagedError
from ctdenoise.file_names import named
from ctdenoise.series.directory import is_directory
from ctdenoise.series.frames import frame_plane, group_value, image_type, rescale
from ctdenoise.series.geometry import Plane, stack_notes
from ctdenoise.series.layout import checked_layout
from ctdenoise.series.model import Instance, LeftOut, Series
from ctdenoise.series.opening import read_header, transfer_syntax

CT_STORAGE = frozenset(
    {CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage}
)
REFORMATS = frozenset({"REFORMATTED", "MPR", "AVERAGE", "MIP", "MINIP", "MAX_IP", "MIN_IP"})
CONTRIBUTION = "Noise reduction by ctdenoise"
"""What a series of ours says of us in its Contributing Equipment Sequence."""

_LARGEST_NUMBER = 10**9
NOT_HU = {
    "OD": "optical density",
    "MGML": "mg/ml",
    "Z_EFF": "effective atomic number",
    "ED": "electron density",
    "EDW": "electron density",
    "PCT": "percent",
}


@dataclass(frozen=True)
class _Slice:
    instance: Instance
    series_key: tuple[str, str]
    series_number: int | None
    instance_number: int
    plane: Plane | None
    reformatted: bool


def find_series(paths: Iterable[Path]) -> Iterator[Series | LeftOut]:
    """Sort files into CT series and files that are left out, by their headers alone.

    Files of one Series Instance UID make one series, sorted along the slice normal; images of
    another orientation than most of the series (an unmarked localizer) are left out of it, and
    so are series in which hardly two images are parallel.
    """
    groups: dict[tuple[str, str], list[_Slice]] = defaultdict(list)
    for path in paths:
        found = _examine(path)
        if isinstance(found, LeftOut):
            yield found
        else:
            groups[found.series_key].append(found)
    for key, slices in groups.items():
        yield from _stack(*key, slices)


def series_number(header: Dataset) -> int | None:
    """The Series Number; None where there is none, or more than an integer string holds."""
    number = header.get("SeriesNumber")
    if number is None or abs(int(number)) > _LARGEST_NUMBER:
        return None
    return int(number)


def _examine(path: Path) -> _Slice | LeftOut:
    try:
        header = read_header(path)
        reason = _why_not(header)
        if reason:
            cut_short = reason.startswith("no ") and header.SOPClassUID in CT_STORAGE
            return LeftOut(path, reason, damaged=cut_short)
        return _describe(path, header)
    except InvalidDicomError:
        return LeftOut(path, "not a DICOM file")
    except OSError as error:
        why = error.strerror or "cut short or damaged"
        return LeftOut(path, f"cannot be read: {why}", damaged=True)
    except DamagedError as error:
        return LeftOut(path, str(error), damaged=True)
    except Exception as error:  # pydicom meets broken files with errors of many kinds
        return LeftOut(path, f"damaged DICOM header ({type(error).__name__})", damaged=True)


def _why_not(header: Dataset) -> str | None:
    """Why a file takes no part, or None for a CT image."""
    sop_class = header.get("SOPClassUID")
    if is_directory(header):
        return "a DICOMDIR, no image"
    if sop_class is None:
        return "not a DICOM object (no SOP Class UID)"
    if sop_class not in CT_STORAGE:
        return f"not a CT image ({sop_class.name})"
    equipment = header.get("ContributingEquipmentSequence") or []
    if any(item.get("ContributionDescription") == CONTRIBUTION for item in equipment):
        return "already denoised by ctdenoise"
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        if not header.get(keyword):
            return f"no {keyword}"
    return _why_not_hu(header)


def _why_not_hu(header: Dataset) -> str | None:
    kinds = {value.upper().strip() for value in image_type(header)}
    if "LOCALIZER" in kinds:
        return "a localizer"
    if "PERFUSION" in kinds or header.get("PixelPresentation") == "COLOR":
        return "a parametric map, not HU"
    unit = str(group_value(header, 0, "RescaleType") or "HU").upper()
    if unit in NOT_HU:
        return f"its values are {NOT_HU[unit]}, not HU"
    if header.get("SamplesPerPixel", 1) != 1:
        return "a colour image"
    if not header.get("Rows") or not header.get("Columns"):
        return "no pixel data (no Rows and Columns)"
    if rescale(header, 0) is None:
        return "no Rescale Slope and Intercept: its HU are unknown"
    return None


def _describe(path: Path, header: Dataset) -> _Slice:
    layout = checked_layout(header, transfer_syntax(header), path.stat().st_size)
    plane = frame_plane(header, 0)
    kinds = {value.upper().strip() for value in image_type(header)}
    return _Slice(
        instance=Instance(
            path=path,
            uid=str(header.SOPInstanceUID),
            frames=layout.frames,
            rows=layout.rows,
            columns=layout.columns,
            position=plane.offset if plane else None,
        ),
        series_key=(str(header.StudyInstanceUID), str(header.SeriesInstanceUID)),
        series_number=series_number(header),
        instance_number=int(header.get("InstanceNumber") or 0),
        plane=plane,
        reformatted=bool(REFORMATS & kinds),
    )


def _stack(study_uid: str, uid: str, slices: list[_Slice]) -> Iterator[Series | LeftOut]:
    unique: dict[str, _Slice] = {}
    for item in slices:
        if item.instance.uid in unique:
            first = unique[item.instance.uid].instance.path
            yield LeftOut(item.instance.path, f"same SOP Instance UID as {named(first)}")
        else:
            unique[item.instance.uid] = item
    kept, others = _largest_parallel_group(list(unique.values()))
    if len(others) >= len(kept):
        for item in kept + others:
            yield LeftOut(item.instance.path, "not a stack: its series has no common orientation")
        return
    for item in others:
        yield LeftOut(item.instance.path, "another orientation than its series (a localizer?)")
    kept.sort(
        key=lambda item: (item.instance.position or 0.0, item.instance_number, item.instance.uid)
    )
    planes = [item.plane for item in kept if item.plane]
    notes = (
        stack_notes(planes)
        if len(planes) == len(kept)
        else ["some slices have no position: they are in the order of their instance numbers"]
    )
    if any(item.reformatted for item in kept):
        notes.append("a reformat or projection: its noise is not that of acquired slices")
    if len({(item.instance.rows, item.instance.columns) for item in kept}) > 1:
        notes.append("slices differ in matrix size")
    yield Series(
        kind="dicom",
        study_uid=study_uid,
        uid=uid,
        number=kept[0].series_number,
        instances=tuple(item.instance for item in kept),
        notes=tuple(notes),
    )


def _largest_parallel_group(slices: list[_Slice]) -> tuple[list[_Slice], list[_Slice]]:
    groups: list[list[_Slice]] = []
    for item in slices:
        for group in groups:
            reference = next((other.plane for other in group if other.plane), None)
            if item.plane is None or reference is None or item.plane.parallel_to(reference):
                group.append(item)
                break
        else:
            groups.append([item])
    groups.sort(key=len, reverse=True)
    return groups[0], [item for group in groups[1:] for item in group]
