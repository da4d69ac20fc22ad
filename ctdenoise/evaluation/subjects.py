"""What a grid is filled with: images with their noise, and the phantom."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from ctdenoise.errors import CTDenoiseError
from ctdenoise.evaluation.images import Reference
from ctdenoise.evaluation.methods import Method, Seen
from ctdenoise.evaluation.metrics import Figure, figures
from ctdenoise.evaluation.noises import AS_IS, Noise
from ctdenoise.evaluation.phantom import Phantom
from ctdenoise.evaluation.table import LAST
from ctdenoise.evaluation.unreferenced import unreferenced_figures
from ctdenoise.hounsfield import HU, Mask

Judge = Callable[[Method, float], list[Figure]]
"""From a method and its setting to figures, the last of which is its time."""


class Subject(Protocol):
    """What methods are judged on."""

    @property
    def name(self) -> str:
        """Of the image."""

    @property
    def group(self) -> str:
        """What it belongs to."""

    @property
    def kind(self) -> str:
        """Photograph, CT, or phantom."""

    @property
    def tuned_as(self) -> str:
        """The kind of image whose settings methods get."""

    def judge(self, noise: Noise, seed: int) -> Judge:
        """Put the noise in, for any number of methods.

        Raises:
            CTDenoiseError: there is nothing to judge, or the noise does not go with it.
        """


@dataclass(frozen=True)
class ImageSubject:
    """A photograph or a slice."""

    reference: Reference

    @property
    def name(self) -> str:
        return self.reference.name

    @property
    def group(self) -> str:
        return self.reference.group

    @property
    def kind(self) -> str:
        return self.reference.kind

    @property
    def tuned_as(self) -> str:
        return self.reference.kind

    def judge(self, noise: Noise, seed: int) -> Judge:
        kind, spacing = self.reference.kind, self.reference.spacing
        image, padding, seen = noisy_image(self.reference, noise, seed)

        def judge(method: Method, setting: float) -> list[Figure]:
            made, seconds = denoised(method, seen, setting)
            if noise.name == AS_IS:
                found = unreferenced_figures(image, padding, made, spacing)
            else:
                found = figures(kind, image, padding, seen.noisy, made, spacing)
            return [*found, Figure(LAST, "all", seconds, "s")]

        return judge


@dataclass(frozen=True)
class PhantomSubject:
    """The phantom, scanned many times."""

    phantom: Phantom
    name: ClassVar[str] = "phantom"
    group: ClassVar[str] = "phantom"
    kind: ClassVar[str] = "phantom"
    tuned_as: ClassVar[str] = "ct"

    def judge(self, noise: Noise, seed: int) -> Judge:
        phantom = self.phantom
        scans = [
            np.stack([phantom.noisy(there, noise, seed + n) for n in range(phantom.scans)])
            for there in (False, True)
        ]

        def judge(method: Method, setting: float) -> list[Figure]:
            results = [
                denoised(method, Seen(scan, phantom.padding, "ct", scan - truth), setting)
                for truth, part in zip(phantom.truth, scans, strict=True)
                for scan in part
            ]
            made = np.stack([image for image, _ in results])
            found = phantom.figures(scans, np.split(made, 2))
            seconds = float(np.mean([took for _, took in results]))
            return [*found, Figure(LAST, "all", seconds, "s")]

        return judge


def noisy_image(reference: Reference, noise: Noise, seed: int) -> tuple[HU, Mask, Seen]:
    """The reference, its padding, and what a method sees of it.

    Raises:
        CTDenoiseError: the image cannot be read, holds nothing, or does not go with the noise.
    """
    image, padding = reference.load()
    if padding.all() or np.ptp(image[~padding]) == 0:
        raise CTDenoiseError("is constant or empty: there is nothing to judge")
    noisy = reference.noisy(image, padding, noise, seed)
    if noisy.shape != image.shape:
        raise CTDenoiseError("the noisy image has another size than the reference")
    truth = None if noise.name == AS_IS else noisy - image
    return image, padding, Seen(noisy, padding, reference.kind, truth)


def denoised(method: Method, seen: Seen, setting: float) -> tuple[HU, float]:
    """What a method makes of an image, and the seconds that it took.

    Raises:
        CTDenoiseError: it gave something that is no image.
    """
    started = time.perf_counter()
    made = method.function(seen, setting)
    seconds = time.perf_counter() - started
    if not np.isfinite(made).all():
        raise CTDenoiseError("gave values that are no numbers")
    return made, seconds
