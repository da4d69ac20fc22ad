"""What is learned from: photographs, or CT of normal dose."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ctdenoise.errors import CTDenoiseError
from ctdenoise.file_names import named
from ctdenoise.hounsfield import AIR, HUWindow
from ctdenoise.series import find
from ctdenoise.series.read import read

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})


@dataclass(frozen=True)
class ImageSet:
    """Images in memory, as they were stored.

    Attributes:
        arrays: each (C, H, W), of any number type.
        groups: what each belongs to: itself for a photograph, the patient for CT.
        lower: stored value that becomes 0.
        upper: stored value that becomes 1.
    """

    arrays: Sequence[NDArray[Any]]
    groups: Sequence[str]
    lower: float
    upper: float

    def __len__(self) -> int:
        return len(self.arrays)

    def unit(self, index: int, part: tuple[slice, slice]) -> NDArray[np.float32]:
        """A part (C, h, w) of an image in [0, 1]; CT beyond the window goes beyond that."""
        array = self.arrays[index][:, part[0], part[1]].astype(np.float32)
        return (array - np.float32(self.lower)) / np.float32(self.upper - self.lower)

    def split(self, fraction: float, seed: int) -> tuple[ImageSet, ImageSet]:
        """Images to learn from, and about ``fraction`` of the groups to validate on.

        No group is in both. At least one group goes to each side.

        Raises:
            CTDenoiseError: there is only one group.
        """
        names = sorted(set(self.groups))
        if len(names) < 2:
            raise CTDenoiseError(
                f"cannot hold anything back for validation: all images belong to {names[0]}"
            )
        count = min(max(1, round(fraction * len(names))), len(names) - 1)
        order = np.random.default_rng(seed).permutation(len(names))
        held = {names[i] for i in order[:count]}
        return self._those(lambda group: group not in held), self._those(held.__contains__)

    def _those(self, wanted: Callable[[str], bool]) -> ImageSet:
        chosen = [i for i, group in enumerate(self.groups) if wanted(group)]
        return replace(
            self,
            arrays=[self.arrays[i] for i in chosen],
            groups=[self.groups[i] for i in chosen],
        )

    def digest(self) -> str:
        """SHA-256 over all pixels, in order."""
        total = hashlib.sha256()
        for array in self.arrays:
            total.update(f"{array.dtype} {array.shape}".encode())
            total.update(np.ascontiguousarray(array).tobytes())
        return total.hexdigest()


def read_photographs(folder: str | Path, *, channels: int = 1) -> ImageSet:
    """All photographs below ``folder``, as 8-bit gray (``channels`` 1) or RGB (3).

    Raises:
        CTDenoiseError: the folder holds no image, or an image cannot be read.
    """
    paths = list_images(folder)
    arrays = [_read_photograph(path, "L" if channels == 1 else "RGB") for path in paths]
    return ImageSet(arrays, [str(path.relative_to(folder)) for path in paths], 0.0, 255.0)


def read_ct(folder: str | Path, *, window: Sequence[float] = (-1024.0, 3072.0)) -> ImageSet:
    """All slices of the CT series (DICOM or NIfTI) at ``folder``, grouped by patient.

    Args:
        folder: a file, a folder tree, or a NIfTI volume.
        window: HU that become 0 and 1. Nothing is clipped.

    Raises:
        CTDenoiseError: there is no CT, or a series cannot be read.
    """
    found = find(Path(folder))
    if not found.series:
        raise CTDenoiseError(f"{named(Path(folder))}: no CT series")
    arrays, groups = [], []
    numbers: dict[str, int] = {}
    for series in found.series:
        for instance in series.instances:
            image = read(series, instance)
            patient = str(image.header.get("PatientID", "")) if image.header is not None else ""
            for hu, padding in zip(image.hu, image.padding, strict=True):
                arrays.append(np.where(padding, AIR, hu).astype(np.float32)[None])
                # By number: a group's name may end in a message, and no patient's may.
                number = numbers.setdefault(patient or series.uid, len(numbers) + 1)
                groups.append(f"patient {number}")
    bounds = HUWindow(*window)
    return ImageSet(arrays, groups, bounds.lower, bounds.upper)


def list_images(folder: str | Path) -> list[Path]:
    """All images below ``folder``, sorted by path.

    Raises:
        CTDenoiseError: there is none.
    """
    found = find_images(Path(folder))
    if not found:
        raise CTDenoiseError(f"{folder}: no image here; give a folder of photographs")
    return found


def find_images(path: Path) -> list[Path]:
    """All images below a folder, sorted by path, or the one that ``path`` is; none if none."""
    files = [path] if path.is_file() else path.rglob("*")
    return sorted(p for p in files if p.suffix.lower() in IMAGE_SUFFIXES)


def _read_photograph(path: Path, mode: str) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert(mode))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise CTDenoiseError(f"{path}: cannot be read as an image ({error})") from None
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
