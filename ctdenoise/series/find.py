"""Find the CT series at a path."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ctdenoise.errors import CTDenoiseError
from ctdenoise.file_names import named
from ctdenoise.series.dicom import find_series
from ctdenoise.series.directory import files_of_directory
from ctdenoise.series.model import Found, LeftOut, Series
from ctdenoise.series.nifti import find_volume
from ctdenoise.series.opening import says_dicom


def find(path: Path, *, without: Path | None = None) -> Found:
    """The CT series in a DICOM file, in a folder tree, in a NIfTI file, or of a DICOMDIR.

    Args:
        path: where to look.
        without: a folder that is not searched, such as the output's, unless ``path`` is in it.

    Raises:
        CTDenoiseError: the path does not exist.
    """
    if not path.exists():
        raise CTDenoiseError(f"{path}: no such file or folder")
    if is_nifti(path):
        found = [find_volume(path)]
    else:
        files = _files_below(path, without) if path.is_dir() else files_of_directory(path) or [path]
        volumes = [file for file in files if is_nifti(file)]
        found = _unique(find_volume(file) for file in volumes)
        found += find_series(file for file in files if not is_nifti(file))
    return Found(
        series=tuple(item for item in found if isinstance(item, Series)),
        left_out=tuple(item for item in found if isinstance(item, LeftOut)),
    )


def _unique(found: Iterable[Series | LeftOut]) -> list[Series | LeftOut]:
    """Volumes, each once."""
    first: dict[str, Series] = {}
    result: list[Series | LeftOut] = []
    for item in found:
        if isinstance(item, Series) and item.uid in first:
            name = named(first[item.uid].instances[0].path)
            item = LeftOut(item.instances[0].path, f"same content as {name}")
        elif isinstance(item, Series):
            first[item.uid] = item
        result.append(item)
    return result


def is_nifti(path: Path) -> bool:
    """Whether a file is named like a volume, and does not say that it is DICOM."""
    return path.name.lower().endswith((".nii", ".nii.gz")) and not says_dicom(path)


def _files_below(folder: Path, without: Path | None) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if without is None or folder.resolve().is_relative_to(without.resolve()):
        return files
    return [path for path in files if not path.resolve().is_relative_to(without.resolve())]
