"""NIfTI volumes as series of slices."""

from __future__ import annotations

import hashlib
import logging
import math
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import nibabel
import numpy as np
from nibabel.openers import ImageOpener

from ctdenoise.errors import CTDenoiseError
from ctdenoise.file_names import named
from ctdenoise.series.model import Instance, LeftOut, Series, SourceImage, spread

_RANGE_SAMPLE = 3
"""Slices that tell whether a volume can be in HU."""
_LEAST_RANGE, _LUNG, _FAR = 50.0, -300.0, 1e5
"""HU: less between the lowest and the highest, or more of either, is no CT; air goes below lung."""
_DENOISED = re.compile(rb"ctdenoise [\d.e-]+ [\d.]+, not a medical device")
"""What a denoised volume of ours says in its header."""
_MAX_INFLATION = 1032
"""What deflate can make of a byte."""


def find_volume(path: Path) -> Series | LeftOut:
    """A NIfTI file as a series of one instance, its slices along the third axis."""
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    try:
        image = nibabel.load(path)
        shape = image.shape
        dtype = image.get_data_dtype()
        start = int(image.dataobj.offset)
        said = image.header["descrip"].tobytes()
        uid = _content_digest(path)
    except Exception as error:
        return LeftOut(path, f"not a readable NIfTI file ({type(error).__name__})")
    if _DENOISED.match(said):
        return LeftOut(path, "already denoised by ctdenoise")
    if len(shape) != 3 or min(shape) < 1:
        return LeftOut(path, f"not a volume of slices (shape {'x'.join(map(str, shape[:8]))})")
    if dtype.fields or dtype.kind not in "iuf":
        return LeftOut(path, f"not a volume of numbers ({dtype})")
    size = path.stat().st_size * (_MAX_INFLATION if path.suffix.lower() == ".gz" else 1)
    if start + math.prod(shape) * dtype.itemsize > size:
        return LeftOut(path, "declares more voxels than the file can hold", damaged=True)
    try:
        lowest, highest = _hu_range(path, shape[2])
    except CTDenoiseError:
        return LeftOut(path, "cannot be read: cut short or damaged", damaged=True)
    if not (lowest < 0 and highest - lowest >= _LEAST_RANGE and -_FAR < lowest < highest < _FAR):
        return LeftOut(path, f"its values are no HU ({lowest:.4g} to {highest:.4g})")
    notes = () if lowest < _LUNG else (f"it has no air ({lowest:.0f} HU at least): is it in HU?",)
    instance = Instance(path, uid, frames=shape[2], rows=shape[1], columns=shape[0], position=None)
    return Series("nifti", "", uid, number=None, instances=(instance,), notes=notes)


def _hu_range(path: Path, slices: int) -> tuple[float, float]:
    """Lowest and highest HU of some slices, NaN where they have no number."""
    found = []
    with closing(Volume(path)) as volume:
        for place in spread(slices, _RANGE_SAMPLE):
            image = volume.read(place)
            found.append(image.hu[~image.padding])
    values = np.concatenate(found)
    return (float(values.min()), float(values.max())) if values.size else (math.nan, math.nan)


def _content_digest(path: Path) -> str:
    """Identity of a volume: NIfTI has no UIDs, and many are called the same."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            total.update(block)
    return total.hexdigest()


def read_volume(path: Path) -> SourceImage:
    """Stored values of a volume as slices (Z, Y, X), with its slope and intercept.

    NaN and infinite voxels count as padding.

    Raises:
        CTDenoiseError: the file is gone or cut short.
    """
    with closing(Volume(path)) as volume:
        return SourceImage.join([volume.read(place) for place in range(volume.slices)])


class Volume:
    """An open NIfTI file, of which one slice at a time is read.

    Reading forward is fast also where the file is compressed; each step back begins anew there.

    Raises:
        CTDenoiseError: the file is gone or damaged.
    """

    def __init__(self, path: Path) -> None:
        self._name = named(path)
        with self._in_one_line():
            self._proxy = nibabel.load(path).dataobj
            columns, rows, self.slices = self._proxy.shape
            self._file = ImageOpener(path, "rb")
        self._shape = (1, rows, columns)

    def read(self, place: int) -> SourceImage:
        """The slice (1, Y, X) at a place along the third axis.

        Raises:
            CTDenoiseError: the file is cut short or damaged.
        """
        proxy = self._proxy
        size = int(np.prod(self._shape)) * proxy.dtype.itemsize
        with self._in_one_line():
            self._file.seek(proxy.offset + place * size)
            data = self._file.read(size)
            if len(data) < size:
                raise EOFError
        stored = np.frombuffer(data, dtype=proxy.dtype).reshape(self._shape)
        return SourceImage(
            header=None,
            stored=stored,
            slope=np.full(1, proxy.slope, dtype=np.float64),
            intercept=np.full(1, proxy.inter, dtype=np.float64),
            padding=~np.isfinite(stored),
            first=place,
        )

    def close(self) -> None:
        self._file.close()

    @contextmanager
    def _in_one_line(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each way of being damaged has an error of its own
            said = f"{self._name}: cannot be read ({type(error).__name__})"
            raise CTDenoiseError(said) from None
