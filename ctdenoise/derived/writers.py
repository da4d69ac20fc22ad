"""Write what was denoised, one instance after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import accumulate, repeat
from pathlib import Path
from typing import Protocol

import nibabel
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID, ExplicitVRLittleEndian

from ctdenoise.derived.file import DerivedFile
from ctdenoise.derived.lock import open_folder
from ctdenoise.derived.pixels import to_stored
from ctdenoise.derived.provenance import Derivation
from ctdenoise.derived.volume import VolumeFile, VolumeFormat
from ctdenoise.errors import CTDenoiseError
from ctdenoise.hounsfield import HU
from ctdenoise.series.model import Instance, Series, SourceImage
from ctdenoise.series.nifti import Volume
from ctdenoise.series.pixels import read_frames

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
    file = DerivedFile(path, source.header, provenance, when, syntax)
    try:
        file.write(stored)
        file.finish()
    finally:
        file.abandon()
    return replace(source, stored=stored).hu


class Writer(Protocol):
    """Takes the frames of a series, those of one instance after those of another, in order.

    :meth:`finished` may be called in another thread than the rest.
    """

    def finished(self, instance: Instance) -> Iterator[HU | None]:
        """HU (1, H, W) that an earlier run of the same settings has written, for each frame.

        None stands for a frame that is still to be written.
        """

    def write(self, instance: Instance, source: SourceImage, hu: HU) -> HU:
        """Write the next frames, HU (F, H, W); returns the HU that a reader of the file gets."""

    def drop(self, instance: Instance) -> None:
        """Take back what was written of an instance that cannot be read to its end.

        Raises:
            CTDenoiseError: the format cannot hold a series with instances missing.
        """

    def uids(self, instances: Sequence[Instance]) -> list[dict[str, str]]:
        """SOP Instance UIDs of source and result; none where there is no DICOM."""

    def close(self) -> None:
        """End a series."""

    def abandon(self) -> None:
        """Leave nothing of a file that is not finished, and let another run into the folder."""


class DicomWriter:
    """One derived DICOM file an instance, named by its place in the series.

    With ``overwrite``, files of another run are replaced one by one, and what is left of them
    goes at the end: an interruption never leaves less than there was.

    Raises:
        CTDenoiseError: another run is writing there, or the folder holds files of another run and
            ``overwrite`` is not set.
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
        self._encoding = syntax or ExplicitVRLittleEndian
        self._names = {
            instance.uid: file_name(place) for place, instance in enumerate(series.instances)
        }
        self._folder = folder
        self._provenance = provenance
        self._file: DerivedFile | None = None
        with open_folder(folder) as self._lock:
            others, ours = self._files_of_another_run()
            if others and not overwrite:
                raise CTDenoiseError(
                    f"{folder.name}: holds files of another run ({others[0].name}); "
                    "use --overwrite or another --output"
                )
            self._others = frozenset(others)
            # A series has one date and time, also when a second run finishes it.
            self._when = _series_time(ours[0]) if ours else datetime.now()

    def finished(self, instance: Instance) -> Iterator[HU | None]:
        path = self._path(instance)
        if path in self._others or not path.exists() or not self._is_done(path, instance):
            return repeat(None, instance.frames)
        return (image.hu for image in read_frames(path))

    def write(self, instance: Instance, source: SourceImage, hu: HU) -> HU:
        stored = to_stored(hu, source)
        if source.first == 0 and source.header is not None:
            path = self._path(instance)
            made_by, when = self._provenance, self._when
            self._file = DerivedFile(path, source.header, made_by, when, self._syntax)
        if self._file is None:
            raise TypeError("a DICOM file is derived from a DICOM file, from its first frame on")
        self._file.write(stored)
        if source.first + len(stored) == instance.frames:
            self._file.finish()
            self._file = None
        return replace(source, stored=stored).hu

    def drop(self, instance: Instance) -> None:
        self._abandon_file()

    def uids(self, instances: Sequence[Instance]) -> list[dict[str, str]]:
        return [
            {"source": item.uid, "new": self._provenance.derive_uid(item.uid)} for item in instances
        ]

    def close(self) -> None:
        for path in self._files_of_another_run()[0]:
            path.unlink()

    def abandon(self) -> None:
        self._abandon_file()
        self._lock.release()

    def _abandon_file(self) -> None:
        if self._file is not None:
            self._file.abandon()
            self._file = None

    def _path(self, instance: Instance) -> Path:
        return self._folder / self._names[instance.uid]

    def _is_done(self, path: Path, instance: Instance) -> bool:
        """Whether a file of ours is all there; cut short or in another syntax it is done again."""
        try:
            frames = sum(1 for _ in read_frames(path))
            said = pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID
        except (CTDenoiseError, OSError):
            return False
        return frames == instance.frames and said == self._encoding

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
    """One NIfTI file a series, which is there when all its instances are in it.

    Args:
        path: the file to write.
        kind: how the volume lies and is stored.
        description: what made it; a file that says the same is taken for finished.

    Raises:
        CTDenoiseError: another run is writing there, or the file exists, another run made it, and
            ``overwrite`` is not set.
    """

    def __init__(
        self, series: Series, path: Path, kind: VolumeFormat, *, description: str, overwrite: bool
    ) -> None:
        self._slices = series.slices
        frames = accumulate(instance.frames for instance in series.instances)
        self._ends = {one.uid: end for one, end in zip(series.instances, frames, strict=True)}
        self._path = path
        self._kind = kind
        self._description = description.encode()[:79]
        self._file: VolumeFile | None = None
        with open_folder(path.parent) as self._lock:
            self._earlier = self._earlier_result()
            if path.exists() and self._earlier is None and not overwrite:
                raise CTDenoiseError(
                    f"{path.parent.name}: holds a volume of another run; "
                    "use --overwrite or another --output"
                )

    def finished(self, instance: Instance) -> Iterator[HU | None]:
        earlier = self._earlier
        if earlier is None:
            return repeat(None, instance.frames)
        end = self._ends[instance.uid]
        return (earlier.read(place).hu for place in range(end - instance.frames, end))

    def write(self, instance: Instance, source: SourceImage, hu: HU) -> HU:
        stored = to_stored(hu, source)
        written = replace(source, stored=stored).hu
        if self._file is None:
            shape = (self._slices, instance.rows, instance.columns)
            self._file = VolumeFile(self._path, shape, self._kind, self._description)
        self._file.write(written if self._kind.holds_hu else stored)
        return written

    def drop(self, instance: Instance) -> None:
        if self._earlier is None:
            raise CTDenoiseError("slices are missing, which a NIfTI volume cannot say: not written")

    def uids(self, instances: Sequence[Instance]) -> list[dict[str, str]]:
        return []

    def close(self) -> None:
        if self._file is not None:
            self._file.finish()

    def abandon(self) -> None:
        if self._file is not None:
            self._file.abandon()
        if self._earlier is not None:
            self._earlier.close()
        self._lock.release()

    def _earlier_result(self) -> Volume | None:
        """The volume, if the same run has already written it."""
        if not self._path.exists():
            return None
        try:
            said = bytes(nibabel.load(self._path).header["descrip"].tobytes()).rstrip(b"\0")
            if said != self._description:
                return None
            earlier = Volume(self._path)
            for place in range(self._slices):
                earlier.read(place)
        except Exception:  # damaged, or no NIfTI at all: not ours
            return None
        return earlier


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
