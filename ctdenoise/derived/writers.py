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
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless, RLELossless

from ctdenoise.derived.atomic import PARTIAL_SUFFIX, atomic_file
from ctdenoise.derived.dataset import derive
from ctdenoise.derived.pixels import to_stored
from ctdenoise.derived.provenance import Derivation
from ctdenoise.errors import CTDenoiseError
from ctdenoise.hounsfield import HU
from ctdenoise.series.model import Instance, Series, SourceImage
from ctdenoise.series.nifti import read_volume
from ctdenoise.series.pixels import read_image

LOSSLESS = {"rle": RLELossless, "jpeg-ls": JPEGLSLossless, "jpeg-2000": JPEG2000Lossless}
"""Names of the transfer syntaxes that compress without loss."""

FILE_PATTERN = "[0-9]*.dcm"


def file_name(place: int) -> str:
    """Name of the derived file of the instance at a place, from 0, in its series."""
    return f"{place + 1:05d}.dcm"


def write_derived(
    path: Path,
    source: SourceImage,
    hu: HU,
    provenance: Derivation,
    when: datetime,
    syntax: UID | None = None,
) -> HU:
    """Write the DICOM file derived from ``source`` with new HU (F, H, W), whole or not at all.

    It is explicit little endian, or compressed without loss by ``syntax``.

    Returns:
        The HU that a reader of the file gets: rounded and clipped to what can be stored.
    """
    if source.header is None:
        raise TypeError("a DICOM file is derived from a DICOM file")
    stored = to_stored(hu, source)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        derived = derive(source.header, stored, provenance, when)
        if syntax is not None:
            derived.compress(syntax, generate_instance_uid=False)
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

    def close(self, *, complete: bool) -> None:
        """End a series; ``complete`` says whether all of its instances could be read.

        Raises:
            CTDenoiseError: the format cannot hold a series with instances missing.
        """


class DicomWriter:
    """One derived DICOM file an instance, named by its place in the series.

    With ``overwrite``, files of another run are replaced one by one, and what is left of them
    goes at the end: an interruption never leaves less than there was.

    Raises:
        CTDenoiseError: the folder holds files of another run, and ``overwrite`` is not set.
    """

    def __init__(
        self,
        series: Series,
        folder: Path,
        provenance: Derivation,
        *,
        overwrite: bool,
        syntax: UID | None = None,
    ) -> None:
        self._syntax = syntax
        self._names = {
            instance.uid: file_name(place) for place, instance in enumerate(series.instances)
        }
        self._folder = folder
        self._provenance = provenance
        folder.mkdir(parents=True, exist_ok=True)
        clear_leftovers(folder)
        self._others, ours = self._files_of_another_run()
        if self._others and not overwrite:
            raise CTDenoiseError(
                f"{folder}: holds files of another run ({self._others[0].name}); "
                "use --overwrite or another --output"
            )
        # A series has one date and time, also when a second run finishes it.
        self._when = _series_time(ours[0]) if ours else datetime.now()

    def finished(self, instance: Instance) -> HU | None:
        path = self._path(instance)
        if path in self._others or not path.exists():
            return None
        try:
            return read_image(path).hu
        except CTDenoiseError:  # cut short, whoever did it: write it again
            return None

    def write(self, instance: Instance, source: SourceImage, hu: HU) -> HU:
        path = self._path(instance)
        return write_derived(path, source, hu, self._provenance, self._when, self._syntax)

    def uids(self, instances: Sequence[Instance]) -> list[dict[str, str]]:
        return [
            {"source": item.uid, "new": self._provenance.derive_uid(item.uid)} for item in instances
        ]

    def close(self, *, complete: bool) -> None:
        for path in self._files_of_another_run()[0]:
            path.unlink()

    def _path(self, instance: Instance) -> Path:
        return self._folder / self._names[instance.uid]

    def _files_of_another_run(self) -> tuple[list[Path], list[Path]]:
        """Files named like ours that this run would not write, and those it would."""
        expected = {name: self._provenance.derive_uid(uid) for uid, name in self._names.items()}
        others: list[Path] = []
        ours: list[Path] = []
        for path in sorted(self._folder.glob(FILE_PATTERN)):
            if path.stat().st_size > 0:
                same = _instance_uid(path) == expected.get(path.name)
                (ours if same else others).append(path)
        return others, ours


class NiftiWriter:
    """One NIfTI file a series, written when all its instances are there.

    Args:
        path: the file to write.
        affine: of the volume (4, 4), RAS, in mm.
        template: the source's image, whose header is kept; None for a series of DICOM.
        description: what made it; a file that says the same is taken for finished.

    Raises:
        CTDenoiseError: the file exists, another run made it, and ``overwrite`` is not set.
    """

    def __init__(
        self,
        series: Series,
        path: Path,
        affine: NDArray[np.float64],
        *,
        template: Path | None,
        description: str,
        overwrite: bool,
    ) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        clear_leftovers(path.parent)
        self._path = path
        self._affine = affine
        self._header = nibabel.load(template).header if template else _millimetres()
        self._description = description.encode()[:79]
        self._slices: list[SourceImage] = []
        self._stored: list[NDArray[Any]] = []
        self._finished = self._earlier_result(series)
        if path.exists() and not self._finished and not overwrite:
            raise CTDenoiseError(f"{path}: is there already; use --overwrite or another --output")

    def finished(self, instance: Instance) -> HU | None:
        return self._finished.get(instance.uid)

    def write(self, instance: Instance, source: SourceImage, hu: HU) -> HU:
        stored = to_stored(hu, source)
        self._slices.append(source)
        self._stored.append(stored)
        return replace(source, stored=stored).hu

    def uids(self, instances: Sequence[Instance]) -> list[dict[str, str]]:
        return []

    def close(self, *, complete: bool) -> None:
        if self._finished:
            return
        if not complete:
            raise CTDenoiseError("slices are missing, which a NIfTI volume cannot say: not written")
        stored = np.concatenate(self._stored)
        slope = np.concatenate([source.slope for source in self._slices])
        intercept = np.concatenate([source.intercept for source in self._slices])
        if np.ptp(slope) > 0 or np.ptp(intercept) > 0:
            hu = stored.astype(np.float64) * slope[:, None, None] + intercept[:, None, None]
            stored, slope, intercept = hu.astype(np.float32), np.ones(1), np.zeros(1)
        header = self._header.copy()
        header.set_data_dtype(stored.dtype)
        header["descrip"] = self._description
        image = nibabel.Nifti1Image(stored.T, self._affine, header)
        image.header.set_slope_inter(float(slope[0]), float(intercept[0]))
        with atomic_file(self._path) as partial:
            nibabel.save(image, partial)

    def _earlier_result(self, series: Series) -> dict[str, HU]:
        """HU of each instance, if the same run has already written the volume."""
        if not self._path.exists():
            return {}
        try:
            said = bytes(nibabel.load(self._path).header["descrip"].tobytes()).rstrip(b"\0")
            if said != self._description:
                return {}
            hu = read_volume(self._path).hu
        except Exception:  # damaged, or no NIfTI at all: not ours
            return {}
        ends = np.cumsum([instance.frames for instance in series.instances])[:-1]
        return {
            instance.uid: part
            for instance, part in zip(series.instances, np.split(hu, ends), strict=True)
        }


def _millimetres() -> nibabel.Nifti1Header:
    header = nibabel.Nifti1Header()
    header.set_xyzt_units("mm")
    return header


def _series_time(path: Path) -> datetime:
    header = pydicom.dcmread(path, stop_before_pixels=True)
    return datetime.strptime(f"{header.SeriesDate}{header.SeriesTime}", "%Y%m%d%H%M%S")


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
