"""NIfTI volumes as series of slices."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import nibabel
import numpy as np

from ctdenoise.errors import CTDenoiseError
from ctdenoise.series.model import Instance, LeftOut, Series, SourceImage


def find_volume(path: Path) -> Series | LeftOut:
    """A NIfTI file as a series of one instance, its slices along the third axis."""
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    try:
        image = nibabel.load(path)
        shape = image.shape
    except Exception as error:
        return LeftOut(path, f"not a readable NIfTI file ({type(error).__name__})")
    if len(shape) != 3 or 0 in shape:
        return LeftOut(path, f"not a volume of slices (shape {'x'.join(map(str, shape))})")
    if image.get_data_dtype().fields or image.get_data_dtype().kind not in "iuf":
        return LeftOut(path, f"not a volume of numbers ({image.get_data_dtype()})")
    uid = _content_digest(path)
    instance = Instance(path, uid, frames=shape[2], rows=shape[1], columns=shape[0], position=None)
    return Series(kind="nifti", study_uid="", uid=uid, number=None, instances=(instance,))


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
    try:
        proxy = nibabel.load(path).dataobj
        stored = np.asarray(proxy.get_unscaled()).T
    except Exception as error:
        raise CTDenoiseError(f"{path.name}: cannot be read ({type(error).__name__})") from None
    slices = len(stored)
    return SourceImage(
        header=None,
        stored=stored,
        slope=np.full(slices, proxy.slope, dtype=np.float64),
        intercept=np.full(slices, proxy.inter, dtype=np.float64),
        padding=~np.isfinite(stored),
    )
