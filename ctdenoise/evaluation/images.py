"""What is judged: photographs or slices of CT, each with noise that is known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image as PILImage

from ctdenoise.errors import CTDenoiseError
from ctdenoise.evaluation.noises import AS_IS, LOW_DOSE, PAIR, Noise, noisy_ct, noisy_photograph
from ctdenoise.file_names import named
from ctdenoise.hounsfield import AIR, HU, HUWindow, Mask
from ctdenoise.noise.low_dose import Scan, low_dose_noise
from ctdenoise.noise.named import named_generator
from ctdenoise.series import Instance, Series, SourceImage, find, read
from ctdenoise.series.model import spread
from ctdenoise.simulate import matched_scan, pixel_spacing, some_slices
from ctdenoise.training.images import find_images

Kind = Literal["photograph", "ct"]

WINDOWS: Mapping[str, HUWindow] = {
    "soft tissue": HUWindow(-160.0, 240.0),
    "lung": HUWindow(-1350.0, 150.0),
}
"""Windows that the figures of CT name."""


@dataclass(frozen=True)
class Reference:
    """An image without the noise that is put in.

    Attributes:
        name: of the image, without anything of a patient.
        group: what it belongs to: itself for a photograph, the patient for CT.
        identity: changes where the pixels do: a digest, or the UID of the series.
        kind: photograph or CT.
        load: gives it, (H, W) in [0, 1] or HU, and its padding.
        spacing: of pixels in mm; 0 for a photograph.
        scan: of a series, for simulated low dose.
        partner: gives the noisy image of a real pair, and its padding.
    """

    name: str
    group: str
    identity: str
    kind: Kind
    load: Callable[[], tuple[HU, Mask]]
    spacing: float = 0.0
    scan: Callable[[], Scan] | None = None
    partner: Callable[[], tuple[HU, Mask]] | None = None

    def noisy(self, image: HU, padding: Mask, noise: Noise, seed: int) -> HU:
        """The image (H, W) with the noise of a seed; padding stays.

        Raises:
            CTDenoiseError: the noise has no meaning for this image.
        """
        if noise.name == PAIR:
            if self.partner is None:
                raise CTDenoiseError(f"{self.name}: has no partner")
            return self.partner()[0]
        rng = named_generator(seed, f"{noise} {self.group} {self.name}")
        if self.kind == "photograph":
            return noisy_photograph(image, noise, rng)
        if noise.name == AS_IS:
            return image.copy()
        if noise.name != LOW_DOSE:
            return noisy_ct(image, padding, noise, rng)
        if self.scan is None:
            raise CTDenoiseError(f"{noise}: is for a series, not for a pair")
        scan = self.scan()
        added = low_dose_noise(
            image, padding, spacing=self.spacing, dose=noise.strength, scan=scan, rng=rng
        )
        return np.where(padding, image, image + added)


def references(paths: Sequence[Path], *, slices: int | None = None) -> list[Reference]:
    """Photographs and CT at paths.

    Series of one study are of one patient, and one group; a NIfTI volume is a group of its own.

    Args:
        paths: images, folders of them, or CT (DICOM or NIfTI).
        slices: of each CT series, spread over it; None takes all.

    Raises:
        CTDenoiseError: a path does not exist, or holds neither.
    """
    found: list[Reference] = []
    patients: dict[str, str] = {}
    series_so_far = 0
    for path in paths:
        if not path.exists():
            raise CTDenoiseError(f"{named(path)}: no such file or folder")
        photographs = _photographs(path)
        is_photograph = path.is_file() and bool(photographs)
        series = () if is_photograph else find(path).series
        if not photographs and not series:
            raise CTDenoiseError(f"{named(path)}: holds neither photographs nor CT")
        found += photographs
        for one in series:
            series_so_far += 1
            patient = patients.setdefault(one.study_uid or one.uid, f"patient {len(patients) + 1}")
            found += _slices(one, f"series {series_so_far}", patient, slices)
    if len({(r.group, r.name) for r in found}) < len(found):
        raise CTDenoiseError("two inputs hold images of the same folder and name; rename a folder")
    return found


def _photographs(path: Path) -> list[Reference]:
    root = path.parent if path.is_file() else path
    return [
        Reference(
            name=str(file.relative_to(root)),
            group=f"{root.name}/{file.relative_to(root)}",
            identity=hashlib.sha256(file.read_bytes()).hexdigest(),
            kind="photograph",
            load=partial(_photograph, file),
        )
        for file in find_images(path)
    ]


def _photograph(path: Path) -> tuple[HU, Mask]:
    try:
        with PILImage.open(path) as opened:
            if opened.mode.startswith("I;16"):
                gray = np.asarray(opened) / 65535.0
            elif opened.mode in ("I", "F"):
                raise CTDenoiseError(f"{path.name}: is of 32 bits; use 8 or 16")
            else:
                gray = np.asarray(opened.convert("L")) / 255.0
    except (OSError, ValueError) as error:
        raise CTDenoiseError(f"{path.name}: cannot be read as an image ({error})") from None
    return gray, np.zeros(gray.shape, dtype=np.bool_)


def _slices(series: Series, name: str, group: str, count: int | None) -> list[Reference]:
    spacing = pixel_spacing(series)
    scan = cache(lambda: matched_scan(Scan(), some_slices(series), spacing))
    frames = [(one, frame) for one in series.instances for frame in range(one.frames)]
    return [
        Reference(
            name=f"{name}, slice {place + 1}",
            group=group,
            identity=series.uid,
            kind="ct",
            load=loader(series, *frames[place]),
            spacing=spacing,
            scan=scan,
        )
        for place in spread(series.slices, count or series.slices)
    ]


def loader(series: Series, instance: Instance, frame: int = 0) -> Callable[[], tuple[HU, Mask]]:
    """What gives a frame (H, W) of an instance in HU, and its padding, which is air there."""

    def load() -> tuple[HU, Mask]:
        try:
            image = _volume(series, instance) if instance.frames > 1 else read(series, instance)
        except CTDenoiseError as error:
            # The name of a file may be that of a patient, and this goes into tables.
            raise CTDenoiseError(str(error).removeprefix(f"{named(instance.path)}: ")) from None
        padding = image.padding[frame]
        hu = image.stored[frame] * image.slope[frame] + image.intercept[frame]
        if not np.isfinite(hu[~padding]).all():
            raise CTDenoiseError("holds values that are no numbers")
        return np.where(padding, AIR, hu), padding

    return load


@lru_cache(maxsize=1)
def _volume(series: Series, instance: Instance) -> SourceImage:
    """All frames of an instance: its slices are wanted one after the other."""
    return read(series, instance)
