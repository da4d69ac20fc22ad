"""Write what was denoised, one instance after the other."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import nibabel
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from ctdenoise.derived.atomic import PARTIAL_SUFFIX, atomic_file
from ctdenoise.derived.dataset import derive
from ctdenoise.derived.pixels import to_stored
from ctdenoise.derived.provenance import Provenance
from ctdenoise.errors import CTDenoiseError
from ctdenoise.hounsfield import HU
from ctdenoise.series.model import Instance, Series, SourceImage
from ctdenoise.series.pixels import read_image

FILE_PATTERN = "[0-9]*.dcm"


def file_name(place: int) -> str:
    """Name of the derived file of the instance at a place, from 0, in its series."""
    return f"{place + 1:05d}.dcm"


def write_derived(
    path: Path, source: SourceImage, hu: HU, provenance: Provenance, when: datetime
) -> HU:
    """Write the DICOM file derived from ``source`` with new HU (F, H, W), whole or not at all.

    Returns:
        The HU that a reader of the file gets: rounded and clipped to what can be stored.
    """
    if source.header is None:
        raise TypeError("a DICOM file is derived from a DICOM file")
    stored = to_stored(hu, source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        derived = derive(source.header, stored, provenance, when)
        with atomic_file(path) as partial:
            derived.save_as(partial, enforce_file_format=True)
    return replace(source, stored=stored).hu


class Writer(Protocol):
    """Takes the instances of a series in order."""

    def finished(self, instance: Instance) -> HU | None:
        """HU (F, H, W) that an earlier run of the same settings has written, or None."""

    def write(self, instance: Instance, source: SourceImage, hu: HU) -> HU:
        """Write HU (F, H, W); returns the HU that a reader of the file gets."""

    def uids(self, instances: Sequence[Instance]) -> list[dict[str, str]]:
        """SOP Instance UIDs of source and result; none where there is no DICOM."""

    def close(self) -> None:
        """Write what is written last."""


class DicomWriter:
    """One derived DICOM file an instance, named by its place in the series.

    Raises:
        CTDenoiseError: the folder holds files of another run, and ``overwrite`` is not set.
    """

    def __init__(
        self, series: Series, folder: Path, provenance: Provenance, *, overwrite: bool
    ) -> None:
        self._names = {
            instance.uid: file_name(place) for place, instance in enumerate(series.instances)
        }
        self._folder = folder
        self._provenance = provenance
        self._when = datetime.now()
        folder.mkdir(parents=True, exist_ok=True)
        clear_leftovers(folder)
        others = self._files_of_another_run()
        if others and not overwrite:
            raise CTDenoiseError(
                f"{folder}: holds files of another run ({others[0].name}); "
                "use --overwrite or another --output"
            )
        for path in others:
            path.unlink()

    def finished(self, instance: Instance) -> HU | None:
        path = self._path(instance)
        return read_image(path).hu if path.exists() else None

    def write(self, instance: Instance, source: SourceImage, hu: HU) -> HU:
        return write_derived(self._path(instance), source, hu, self._provenance, self._when)

    def uids(self, instances: Sequence[Instance]) -> list[dict[str, str]]:
        return [
            {"source": item.uid, "new": self._provenance.derive_uid(item.uid)} for item in instances
        ]

    def close(self) -> None:
        """Nothing is left to write."""

    def _path(self, instance: Instance) -> Path:
        return self._folder / self._names[instance.uid]

    def _files_of_another_run(self) -> list[Path]:
        """Files named like ours that this run would not write."""
        expected = {name: self._provenance.derive_uid(uid) for uid, name in self._names.items()}
        return [
            path
            for path in sorted(self._folder.glob(FILE_PATTERN))
            if _instance_uid(path) != expected.get(path.name)
        ]


class NiftiWriter:
    """One NIfTI file a series, written when all its instances are there.

    Args:
        affine: of the volume (4, 4), RAS, in mm.
        path: the file to write.
        template: the source's image, whose header is kept; None for a series of DICOM.

    Raises:
        CTDenoiseError: the file exists, and ``overwrite`` is not set.
    """

    def __init__(
        self,
        path: Path,
        affine: NDArray[np.float64],
        *,
        template: Path | None,
        description: str,
        overwrite: bool,
    ) -> None:
        if path.exists() and not overwrite:
            raise CTDenoiseError(f"{path}: is there already; use --overwrite or another --output")
        path.parent.mkdir(parents=True, exist_ok=True)
        clear_leftovers(path.parent)
        self._path = path
        self._affine = affine
        self._header = nibabel.load(template).header if template else nibabel.Nifti1Header()
        self._description = description
        self._slices: list[SourceImage] = []
        self._stored: list[NDArray[Any]] = []

    def finished(self, instance: Instance) -> HU | None:
        return None

    def write(self, instance: Instance, source: SourceImage, hu: HU) -> HU:
        stored = to_stored(hu, source)
        self._slices.append(source)
        self._stored.append(stored)
        return replace(source, stored=stored).hu

    def uids(self, instances: Sequence[Instance]) -> list[dict[str, str]]:
        return []

    def close(self) -> None:
        stored = np.concatenate(self._stored)
        slope = np.concatenate([source.slope for source in self._slices])
        intercept = np.concatenate([source.intercept for source in self._slices])
        if np.ptp(slope) > 0 or np.ptp(intercept) > 0:
            hu = stored.astype(np.float64) * slope[:, None, None] + intercept[:, None, None]
            stored, slope, intercept = hu.astype(np.float32), np.ones(1), np.zeros(1)
        header = self._header.copy()
        header.set_data_dtype(stored.dtype)
        header.set_slope_inter(float(slope[0]), float(intercept[0]))
        header["descrip"] = self._description.encode()[:79]
        image = nibabel.Nifti1Image(stored.T, self._affine, header)
        image.header.set_slope_inter(float(slope[0]), float(intercept[0]))
        with atomic_file(self._path) as partial:
            nibabel.save(image, partial)


def _instance_uid(path: Path) -> str:
    """The SOP Instance UID of a file; empty if it is no whole DICOM file."""
    try:
        header = pydicom.dcmread(path, specific_tags=["SOPInstanceUID"], stop_before_pixels=True)
    except (OSError, InvalidDicomError):
        return ""
    return str(header.get("SOPInstanceUID", ""))


def clear_leftovers(folder: Path) -> None:
    """Remove what an interrupted run had not finished writing."""
    for path in folder.glob(f"{PARTIAL_SUFFIX}-*"):
        path.unlink()
