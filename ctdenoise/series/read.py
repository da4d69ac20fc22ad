"""Read the pixels of an instance, whatever its format."""

from __future__ import annotations

from ctdenoise.series.model import Instance, Series, SourceImage
from ctdenoise.series.nifti import read_volume
from ctdenoise.series.pixels import read_image


def read(series: Series, instance: Instance) -> SourceImage:
    """Stored values, rescale and padding of ``instance``.

    Raises:
        CTDenoiseError: the file cannot be read or decoded.
    """
    return read_volume(instance.path) if series.kind == "nifti" else read_image(instance.path)
