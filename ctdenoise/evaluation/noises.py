"""The noises of the grid by name, put into photographs and into CT."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ctdenoise.errors import CTDenoiseError
from ctdenoise.hounsfield import HU, HUWindow, Mask
from ctdenoise.noise.photographic import NOISES, mixture, poisson

LOW_DOSE = "lowdose"
PAIR = "pair"
AS_IS = "as-is"
PAPER_WINDOW = HUWindow(-1024.0, 3072.0)
"""HU that are [0, 1] to the noises that are defined there."""

_IN_HU = ("gaussian", "spatial")
_OF_PHOTONS = {"poisson": poisson, "mixture": mixture}
_WITHOUT_STRENGTH = (PAIR, AS_IS)


@dataclass(frozen=True)
class Noise:
    """A noise of the grid.

    Of CT, ``gaussian`` and ``spatial`` are in HU, ``lowdose`` is a fraction of the dose, and the
    others act on :data:`PAPER_WINDOW` as [0, 1]. ``as-is`` puts nothing in: the image is judged
    with the noise that it has, without a truth. ``pair`` is the noisy side of a real pair.
    """

    name: str
    strength: float = 0.0

    def __str__(self) -> str:
        return self.name if self.name in _WITHOUT_STRENGTH else f"{self.name}:{self.strength:g}"

    @classmethod
    def parse(cls, text: str) -> Noise:
        """Read ``NAME:STRENGTH``, or ``as-is``.

        Raises:
            CTDenoiseError: the noise is unknown, or its strength is no number in range.
        """
        if text == AS_IS:
            return cls(AS_IS)
        name, _, strength = text.partition(":")
        known = [*NOISES, LOW_DOSE]
        if name not in known:
            known.append(AS_IS)
            raise CTDenoiseError(f"--noise {text}: unknown noise; known are {', '.join(known)}")
        try:
            value = float(strength)
        except ValueError:
            raise CTDenoiseError(f"--noise {text}: write NAME:STRENGTH") from None
        if not 0 < value < np.inf or (name == LOW_DOSE and value > 1):
            raise CTDenoiseError(f"--noise {text}: the strength is out of range")
        return cls(name, value)


def noisy_photograph(image: HU, noise: Noise, rng: np.random.Generator) -> HU:
    """A photograph (H, W) in [0, 1] with the noise.

    Raises:
        CTDenoiseError: the noise is one of CT alone.
    """
    if noise.name not in NOISES:
        raise CTDenoiseError(f"{noise}: is for CT, and this is a photograph")
    return NOISES[noise.name](image, noise.strength, rng)


def noisy_ct(hu: HU, padding: Mask, noise: Noise, rng: np.random.Generator) -> HU:
    """A slice (H, W) in HU with a noise of :data:`NOISES`; padding stays."""
    make = NOISES[noise.name]
    if noise.name in _IN_HU:
        added = make(np.zeros_like(hu), noise.strength * 255.0, rng)
        return np.where(padding, hu, hu + added)
    unit = PAPER_WINDOW.to_unit(hu)
    inside = np.clip(unit, 0.0, 1.0)
    if noise.name in _OF_PHOTONS:
        # The number of different HU says nothing of photons.
        made = _OF_PHOTONS[noise.name](inside, noise.strength, rng, levels=256)
    else:
        made = make(inside, noise.strength, rng)
    # What is beyond the window stays as far beyond it.
    return np.where(padding, hu, PAPER_WINDOW.from_unit(unit + made - inside))
