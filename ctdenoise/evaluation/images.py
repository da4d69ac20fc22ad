"""What is judged: photographs or slices of CT, each with noise that is known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image as PILImage

from ctdenoise.errors import CTDenoiseError
from ctdenoise.hounsfield import AIR, HU, HUWindow, Mask
from ctdenoise.noise.low_dose import Scan, low_dose_noise
from ctdenoise.noise.named import named_generator
from ctdenoise.noise.photographic import NOISES, mixture, poisson
from ctdenoise.series import Instance, Series, find, read
from ctdenoise.series.model import spread
from ctdenoise.simulate import matched_scan, pixel_spacing, some_slices
from ctdenoise.training.images import find_images

Kind = Literal["photograph", "ct"]
LOW_DOSE = "lowdose"
PAIR = "pair"
PAPER_WINDOW = HUWindow(-1024.0, 3072.0)
"""HU that are [0, 1] to the noises that are defined there."""

_IN_HU = ("gaussian", "spatial")
_OF_PHOTONS = {"poisson": poisson, "mixture": mixture}


@dataclass(frozen=True)
class Noise:
    """A noise of the grid.

    Of CT, ``gaussian`` and ``spatial`` are in HU, ``lowdose`` is a fraction of the dose, and the
    others act on :data:`PAPER_WINDOW` as [0, 1].
    """

    name: str
    strength: float

    def __str__(self) -> str:
        return f"{self.name}:{self.strength:g}" if self.name != PAIR else PAIR

    @classmethod
    def parse(cls, text: str) -> Noise:
        """Read ``NAME:STRENGTH``.

        Raises:
            CTDenoiseError: the noise is unknown, or its strength is no number in range.
        """
        name, _, strength = text.partition(":")
        known = [*NOISES, LOW_DOSE]
        if name not in known:
            raise CTDenoiseError(f"--noise {text}: unknown noise; known are {', '.join(known)}")
        try:
            value = float(strength)
        except ValueError:
            raise CTDenoiseError(f"--noise {text}: write NAME:STRENGTH") from None
        if not 0 < value < np.inf or (name == LOW_DOSE and value > 1):
            raise CTDenoiseError(f"--noise {text}: the strength is out of range")
        return cls(name, value)


@dataclass(frozen=True)
class Reference:
    """An image without the noise that is put in.

    Attributes:
        name: of the image, without anything of a patient.
        group: what it belongs to: itself, or its series.
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
        if noise.name == LOW_DOSE:
            if self.scan is None:
                raise CTDenoiseError(f"{noise}: is for CT, {self.name} is a photograph")
            added = low_dose_noise(
                image,
                padding,
                spacing=self.spacing,
                dose=noise.strength,
                scan=self.scan(),
                rng=rng,
            )
            return np.where(padding, image, image + added)
        make = NOISES[noise.name]
        if self.kind == "photograph":
            return make(image, noise.strength, rng)
        if noise.name in _IN_HU:
            added = make(np.zeros_like(image), noise.strength * 255.0, rng)
            return np.where(padding, image, image + added)
        unit = PAPER_WINDOW.to_unit(image)
        inside = np.clip(unit, 0.0, 1.0)
        if noise.name in _OF_PHOTONS:
            # The number of different HU says nothing of photons.
            made = _OF_PHOTONS[noise.name](inside, noise.strength, rng, levels=256)
        else:
            made = make(inside, noise.strength, rng)
        # What is beyond the window stays as far beyond it.
        return np.where(padding, image, PAPER_WINDOW.from_unit(unit + made - inside))


def references(paths: Sequence[Path], *, slices: int | None = None) -> list[Reference]:
    """Photographs and CT at paths.

    Args:
        paths: images, folders of them, or CT (DICOM or NIfTI).
        slices: of each CT series, spread over it; None takes all.

    Raises:
        CTDenoiseError: a path does not exist, or holds neither.
    """
    found: list[Reference] = []
    for path in paths:
        if not path.exists():
            raise CTDenoiseError(f"{path}: no such file or folder")
        photographs = _photographs(path)
        series = [] if photographs else find(path).series
        if not photographs and not series:
            raise CTDenoiseError(f"{path}: holds neither photographs nor CT")
        found += photographs
        for one in series:
            found += _slices(one, f"series {len({r.group for r in found}) + 1}", slices)
    if len({(r.group, r.name) for r in found}) < len(found):
        raise CTDenoiseError("two inputs hold images of the same folder and name; rename a folder")
    return found


def pairs(noisy: Path, reference: Path) -> list[Reference]:
    """Slices of a series of full dose with those of another dose at the same positions.

    Raises:
        CTDenoiseError: there is not one series at each path, or slices differ in size or place.
    """
    sides: list[list[tuple[Series, Instance]]] = []
    for path in (noisy, reference):
        if not path.exists():
            raise CTDenoiseError(f"{path}: no such file or folder")
        series = find(path).series
        if len(series) != 1:
            raise CTDenoiseError(f"{path}: holds {len(series)} CT series; a pair has one and one")
        if any(instance.frames > 1 for instance in series[0].instances):
            raise CTDenoiseError(f"{path}: is multi-frame, which cannot be paired yet")
        sides.append([(series[0], instance) for instance in series[0].instances])
    places = [{round(_position(i), 2): (s, i) for s, i in side} for side in sides]
    common = sorted(set(places[0]) & set(places[1]))
    if not common:
        raise CTDenoiseError(f"{noisy} and {reference}: no slice is at the same position")
    noisy_spacing, spacing = (pixel_spacing(side[0][0]) for side in sides)
    if abs(noisy_spacing - spacing) > 1e-3:
        raise CTDenoiseError("the pair differs in pixel spacing: its pixels do not correspond")
    found = []
    for place in common:
        (noisy_series, low), (full_series, full) = (side[place] for side in places)
        if (low.rows, low.columns) != (full.rows, full.columns):
            raise CTDenoiseError(
                f"at {place:g} mm: {low.columns}x{low.rows} and {full.columns}x{full.rows} "
                "pixels; a pair has slices of one size"
            )
        found.append(
            Reference(
                name=f"slice at {place:g} mm",
                group="series 1",
                identity=f"{noisy_series.uid} {full_series.uid}",
                kind="ct",
                load=_loader(full_series, full),
                spacing=spacing,
                partner=_loader(noisy_series, low),
            )
        )
    return found


def _position(instance: Instance) -> float:
    if instance.position is None:
        raise CTDenoiseError("a series without positions cannot be paired")
    return instance.position


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


def _slices(series: Series, group: str, count: int | None) -> list[Reference]:
    spacing = pixel_spacing(series)
    scan = cache(lambda: matched_scan(Scan(), some_slices(series), spacing))
    frames = [(one, frame) for one in series.instances for frame in range(one.frames)]
    return [
        Reference(
            name=f"slice {place + 1}",
            group=group,
            identity=series.uid,
            kind="ct",
            load=_loader(series, *frames[place]),
            spacing=spacing,
            scan=scan,
        )
        for place in spread(series.slices, count or series.slices)
    ]


def _loader(series: Series, instance: Instance, frame: int = 0) -> Callable[[], tuple[HU, Mask]]:
    def load() -> tuple[HU, Mask]:
        try:
            image = read(series, instance)
        except CTDenoiseError as error:
            # The name of a file may be that of a patient, and this goes into tables.
            said = str(error).replace(str(instance.path), "").replace(instance.path.name, "")
            raise CTDenoiseError(said.lstrip(": ")) from None
        padding = image.padding[frame]
        hu = image.stored[frame] * image.slope[frame] + image.intercept[frame]
        if not np.isfinite(hu[~padding]).all():
            raise CTDenoiseError("holds values that are no numbers")
        return np.where(padding, AIR, hu), padding

    return load


WINDOWS: Mapping[str, HUWindow] = {
    "soft tissue": HUWindow(-160.0, 240.0),
    "lung": HUWindow(-1350.0, 150.0),
}
"""Windows that the figures of CT name."""
