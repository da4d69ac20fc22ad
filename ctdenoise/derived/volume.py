"""A NIfTI file, written slice by slice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.openers import ImageOpener
from nibabel.volumeutils import seek_tell
from numpy.typing import NDArray

from ctdenoise.derived.atomic import StreamedFile
from ctdenoise.errors import CTDenoiseError


@dataclass(frozen=True)
class VolumeFormat:
    """How a volume lies and is stored.

    Attributes:
        affine: (4, 4), RAS, in mm.
        header: what else is said of it.
        dtype: of the stored values.
        slope: from stored values to HU.
        intercept: from stored values to HU.
        holds_hu: the stored values are HU, since those of the source have no one scale.
    """

    affine: NDArray[np.float64]
    header: nibabel.Nifti1Header
    dtype: np.dtype[Any]
    slope: float = 1.0
    intercept: float = 0.0
    holds_hu: bool = False


class VolumeFile:
    """A volume of which no more than a slice is in memory; compressed if its name says so.

    It is not there before it is finished, and to be abandoned after an error.

    Args:
        path: of the file.
        shape: slices, rows, columns.
        kind: how it lies and is stored.
        description: what made it, at most 79 bytes.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(
        self, path: Path, shape: tuple[int, int, int], kind: VolumeFormat, description: bytes
    ) -> None:
        header = kind.header.copy()
        header.set_data_dtype(kind.dtype)
        header["descrip"] = description
        # An image of that shape without its memory, to bring its header in order.
        blank = np.broadcast_to(np.zeros((), kind.dtype), shape[::-1])
        image = nibabel.Nifti1Image(blank, kind.affine, header)
        image.header.set_slope_inter(kind.slope, kind.intercept)
        image.update_header()
        self._dtype = image.header.get_data_dtype()
        self._streamed = StreamedFile(path, lambda partial: ImageOpener(partial, "wb"))
        try:
            image.header.write_to(self._streamed.file)
            seek_tell(self._streamed.file, image.header.get_data_offset(), write0=True)
        except BaseException:
            self.abandon()
            raise

    def write(self, stored: NDArray[Any]) -> None:
        """The next slices (F, Y, X), stored values.

        Raises:
            CTDenoiseError: they do not fit the volume's type.
        """
        if self._dtype.kind in "iu" and stored.size:
            limits = np.iinfo(self._dtype)
            if stored.min() < limits.min or stored.max() > limits.max:
                raise CTDenoiseError(
                    "its values are signed, other than its headers say; use --format dicom"
                )
        data = np.ascontiguousarray(stored, dtype=self._dtype)
        self._streamed.file.write(data.tobytes())

    def finish(self) -> None:
        """End the file, when all slices are in it."""
        self._streamed.finish()

    def abandon(self) -> None:
        """Leave nothing of a file that was not finished."""
        self._streamed.abandon()
