"""Read the pixels of an instance, whatever its format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

from ctdenoise.errors import CTDenoiseError
from ctdenoise.file_names import named
from ctdenoise.series.frames import frame_count
from ctdenoise.series.model import Instance, Series, SourceImage
from ctdenoise.series.nifti import Volume
from ctdenoise.series.pixels import read_frames as read_dicom_frames


def read(series: Series, instance: Instance) -> SourceImage:
    """Stored values, rescale and padding of ``instance``.

    Raises:
        CTDenoiseError: the file cannot be read or decoded.
    """
    return SourceImage.join(list(read_frames(series, instance)))


def read_frames(
    series: Series, instance: Instance, frames: Sequence[int] | None = None
) -> Iterator[SourceImage]:
    """The frames of ``instance`` one by one, all of them or those asked for, in order.

    Only one is in memory at a time.

    Raises:
        CTDenoiseError: as :func:`read`, when the frame concerned is reached.
    """
    wanted = range(instance.frames) if frames is None else frames
    found = (
        _slices(instance, wanted)
        if series.kind == "nifti"
        else read_dicom_frames(instance.path, frames)
    )
    for image in found:
        count = instance.frames if image.header is None else frame_count(image.header)
        if (count, *image.stored.shape[1:]) != (instance.frames, instance.rows, instance.columns):
            raise CTDenoiseError(f"{named(instance.path)}: has changed since it was found")
        yield image


def _slices(instance: Instance, places: Sequence[int]) -> Iterator[SourceImage]:
    with closing(Volume(instance.path)) as volume:
        for place in places:
            yield volume.read(place)
