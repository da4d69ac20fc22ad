"""Which writer a series gets, and the way from one format to the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import UID

from ctdenoise.derived.from_nifti import PADDING, slice_header, slice_uids
from ctdenoise.derived.provenance import Derivation
from ctdenoise.derived.volume import VolumeFormat
from ctdenoise.derived.writers import DicomWriter, NiftiWriter, Writer
from ctdenoise.errors import CTDenoiseError
from ctdenoise.file_names import named
from ctdenoise.hounsfield import HU
from ctdenoise.series.frames import frame_plane, group_value, rescale
from ctdenoise.series.geometry import Plane
from ctdenoise.series.model import Instance, Series, SourceImage
from ctdenoise.series.opening import read_header

Format = Literal["dicom", "nifti"]
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def open_writer(
    series: Series,
    folder: Path,
    provenance: Derivation,
    fmt: Format | None,
    *,
    overwrite: bool,
    syntax: UID | None = None,
) -> Writer:
    """The writer that makes ``fmt`` of a series; None keeps the series' own format.

    ``syntax`` compresses DICOM without loss; None is explicit little endian.

    Raises:
        CTDenoiseError: the folder holds files of another run, or the series' slices make no
            regular volume, which NIfTI needs.
    """
    fmt = fmt or series.kind
    if fmt == "dicom":
        writer = DicomWriter if series.kind == "dicom" else _NiftiToDicomWriter
        return writer(series, folder, provenance, overwrite=overwrite, syntax=syntax)
    kept = series.kind == "nifti" and not provenance.deidentify
    name = series.instances[0].path.name if kept else "denoised.nii.gz"
    kind = _own_format(series) if series.kind == "nifti" else _volume_format(series)
    if provenance.deidentify:
        _clear_text(kind.header)
    run = provenance.derive_uid(series.uid)[-16:]
    return NiftiWriter(
        series,
        folder / name,
        kind,
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
        self._name = series.uid
        self._image = nibabel.load(volume.path)
        self._slices = [
            Instance(volume.path, uid, 1, volume.rows, volume.columns, None)
            for uid in slice_uids(self._image, series.uid)
        ]
        as_dicom = Series("dicom", "", series.uid, None, tuple(self._slices))
        self._writer = DicomWriter(as_dicom, folder, provenance, overwrite=overwrite, syntax=syntax)

    def finished(self, instance: Instance) -> Iterator[HU | None]:
        return chain.from_iterable(self._writer.finished(item) for item in self._slices)

    def write(self, instance: Instance, source: SourceImage, hu: HU) -> HU:
        written = []
        for place, (values, padding) in enumerate(
            zip(hu, source.padding, strict=True), start=source.first
        ):
            header = slice_header(self._image, self._name, place)
            blank = np.where(padding, PADDING, 0).astype(np.int16)[None]
            empty = SourceImage(header, blank, np.ones(1), np.zeros(1), padding[None])
            finite = np.where(padding, PADDING, values)
            written.append(self._writer.write(self._slices[place], empty, finite[None]))
        return np.concatenate(written)

    def drop(self, instance: Instance) -> None:
        self._writer.drop(instance)

    def uids(self, instances: Sequence[Instance]) -> list[dict[str, str]]:
        return self._writer.uids(self._slices)

    def close(self) -> None:
        self._writer.close()

    def abandon(self) -> None:
        self._writer.abandon()


def _own_format(series: Series) -> VolumeFormat:
    """The format of a volume as it is."""
    image = nibabel.load(series.instances[0].path)
    proxy = image.dataobj
    slope, intercept = float(proxy.slope), float(proxy.inter)
    return VolumeFormat(image.affine, image.header, proxy.dtype, slope, intercept)


def _clear_text(header: nibabel.Nifti1Header) -> None:
    """Remove what a header may say in words."""
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        header[field] = b""
    header.extensions.clear()


def _volume_format(series: Series) -> VolumeFormat:
    """The format of the volume that a series of evenly spaced parallel slices makes."""
    planes: list[Plane | None] = []
    scales: list[tuple[float, float] | None] = []
    kinds, sizes, spacing, thickness = set(), set(), None, 1.0
    for instance in series.instances:
        header = _header(instance.path)
        planes += [frame_plane(header, frame) for frame in range(instance.frames)]
        scales += [rescale(header, frame) for frame in range(instance.frames)]
        kinds.add(_dtype(header))
        sizes.add((instance.rows, instance.columns))
        spacing = spacing or group_value(header, 0, "PixelSpacing")
        thickness = float(group_value(header, 0, "SliceThickness") or thickness)
    known = [plane for plane in planes if plane is not None]
    if len(known) < len(planes) or not spacing or len(sizes) > 1:
        raise CTDenoiseError(
            "its slices make no volume (position, spacing or size); use --format dicom"
        )
    affine = _affine(known, [float(value) for value in spacing], thickness)
    header = nibabel.Nifti1Header()
    header.set_xyzt_units("mm")
    if len(set(scales)) == 1 and scales[0] is not None:
        return VolumeFormat(affine, header, np.result_type(*kinds), *scales[0])
    return VolumeFormat(affine, header, np.dtype(np.float32), holds_hu=True)


def _dtype(header: Dataset) -> np.dtype[Any]:
    """A type for the stored values of a file; a signed one where it can, which all tools know."""
    size, bits = int(header.BitsAllocated), int(header.BitsStored)
    signed = header.PixelRepresentation == 1 or bits < size
    return np.dtype(f"{'i' if signed else 'u'}{size // 8}")


def _header(path: Path) -> Dataset:
    try:
        return read_header(path)
    except OSError as error:
        raise CTDenoiseError(f"{named(path)}: cannot be read: {error.strerror or error}") from None


def _affine(planes: list[Plane], spacing: Sequence[float], thickness: float) -> NDArray[np.float64]:
    """The affine (RAS, mm) of parallel slices, along their normal; spacing of rows, columns."""
    row, column = np.array(planes[0].orientation[:3]), np.array(planes[0].orientation[3:])
    affine = np.eye(4)
    affine[:3, 0] = row * spacing[1]
    affine[:3, 1] = column * spacing[0]
    affine[:3, 2] = _slice_step(planes, thickness)
    affine[:3, 3] = planes[0].position
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
