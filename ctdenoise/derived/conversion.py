"""Which writer a series gets, and the way from one format to the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import nibabel
import numpy as np
from numpy.typing import NDArray
from pydicom.uid import UID

from ctdenoise.derived.from_nifti import PADDING, slice_headers
from ctdenoise.derived.provenance import Derivation
from ctdenoise.derived.writers import LOSSLESS, DicomWriter, NiftiWriter, Writer
from ctdenoise.errors import CTDenoiseError
from ctdenoise.hounsfield import HU
from ctdenoise.series.dicom import read_header
from ctdenoise.series.frames import frame_plane, group_value
from ctdenoise.series.geometry import Plane
from ctdenoise.series.model import Instance, Series, SourceImage

Format = Literal["dicom", "nifti"]
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def open_writer(
    series: Series,
    folder: Path,
    provenance: Derivation,
    fmt: Format | None,
    *,
    overwrite: bool,
    compression: str | None = None,
) -> Writer:
    """The writer that makes ``fmt`` of a series; None keeps the series' own format.

    ``compression`` is a key of ``LOSSLESS``, for DICOM; None is explicit little endian.

    Raises:
        CTDenoiseError: the folder holds files of another run, or the series' slices make no
            regular volume, which NIfTI needs.
    """
    fmt = fmt or series.kind
    if fmt == "dicom":
        kind = DicomWriter if series.kind == "dicom" else _NiftiToDicomWriter
        syntax = LOSSLESS[compression] if compression else None
        return kind(series, folder, provenance, overwrite=overwrite, syntax=syntax)
    if series.kind == "nifti":
        template = series.instances[0].path
        affine, name = nibabel.load(template).affine, template.name
    else:
        template, affine, name = None, _volume_affine(series), "denoised.nii.gz"
    run = provenance.derive_uid(series.uid)[-16:]
    return NiftiWriter(
        series,
        folder / name,
        affine,
        template=template,
        description=f"{provenance.label[:24]} {run}, not a medical device",
        overwrite=overwrite,
    )


class _NiftiToDicomWriter:
    """A DICOM file a slice of a NIfTI volume, with what little a volume knows of itself."""

    def __init__(
        self,
        series: Series,
        folder: Path,
        provenance: Derivation,
        *,
        overwrite: bool,
        syntax: UID | None = None,
    ) -> None:
        (volume,) = series.instances
        self._headers = slice_headers(nibabel.load(volume.path), series.uid)
        self._slices = [
            Instance(volume.path, str(header.SOPInstanceUID), 1, volume.rows, volume.columns, None)
            for header in self._headers
        ]
        as_dicom = Series("dicom", "", series.uid, None, tuple(self._slices))
        self._writer = DicomWriter(as_dicom, folder, provenance, overwrite=overwrite, syntax=syntax)

    def finished(self, instance: Instance) -> HU | None:
        done = [hu for item in self._slices if (hu := self._writer.finished(item)) is not None]
        return np.concatenate(done) if len(done) == len(self._slices) else None

    def write(self, instance: Instance, source: SourceImage, hu: HU) -> HU:
        written = []
        for header, item, values, padding in zip(
            self._headers, self._slices, hu, source.padding, strict=True
        ):
            blank = np.where(padding, PADDING, 0).astype(np.int16)[None]
            empty = SourceImage(header, blank, np.ones(1), np.zeros(1), padding[None])
            finite = np.where(padding, PADDING, values)
            written.append(self._writer.write(item, empty, finite[None]))
        return np.concatenate(written)

    def uids(self, instances: Sequence[Instance]) -> list[dict[str, str]]:
        return self._writer.uids(self._slices)

    def close(self, *, complete: bool) -> None:
        self._writer.close(complete=complete)


def _volume_affine(series: Series) -> NDArray[np.float64]:
    """The affine (RAS, mm) of a series of evenly spaced parallel slices, along the normal."""
    planes, spacing, thickness, sizes = [], None, 1.0, set()
    for instance in series.instances:
        header = read_header(instance.path)
        planes += [frame_plane(header, frame) for frame in range(instance.frames)]
        spacing = spacing or group_value(header, 0, "PixelSpacing")
        thickness = float(group_value(header, 0, "SliceThickness") or thickness)
        sizes.add((instance.rows, instance.columns))
    known = [plane for plane in planes if plane is not None]
    if len(known) < len(planes) or not spacing or len(sizes) > 1:
        raise CTDenoiseError(
            "its slices make no volume (position, spacing or size); use --format dicom"
        )
    step = _slice_step(known, thickness)
    row, column = np.array(known[0].orientation[:3]), np.array(known[0].orientation[3:])
    affine = np.eye(4)
    affine[:3, 0] = row * float(spacing[1])
    affine[:3, 1] = column * float(spacing[0])
    affine[:3, 2] = step
    affine[:3, 3] = known[0].position
    return _LPS_TO_RAS @ affine


def _slice_step(planes: list[Plane], thickness: float) -> NDArray[np.float64]:
    if len(planes) == 1:
        return planes[0].normal * thickness
    steps = np.diff([plane.position for plane in planes], axis=0)
    if np.ptp(steps, axis=0).max() > 0.02 * np.linalg.norm(steps[0]) + 1e-3:
        raise CTDenoiseError(
            "its slices are unevenly spaced, which NIfTI cannot say; use --format dicom"
        )
    return np.asarray((np.array(planes[-1].position) - planes[0].position) / (len(planes) - 1))
