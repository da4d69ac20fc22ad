"""The noises that networks are trained on: from a clean patch a noisy one and what it should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctdenoise.noise.gaussian import correlated_noise, gaussian_noise, uneven_gain

Patch = NDArray[np.float32]


@dataclass(frozen=True)
class WhiteGaussian:
    """White Gaussian noise of one level, as in the paper's synthetic and CT recipes.

    Attributes:
        sigma: standard deviation, in units of 255 gray levels.
    """

    sigma: float

    def __call__(self, clean: Patch, rng: np.random.Generator) -> tuple[Patch, Patch]:
        """Noisy and clean (C, H, W)."""
        return clean + gaussian_noise(clean.shape, self.sigma / 255.0, rng), clean


@dataclass(frozen=True, kw_only=True)
class AnyGaussian:
    """Gaussian noise of any level: white, correlated over a random length, or streaked.

    Attributes:
        max_sigma: standard deviation is uniform in [0, max_sigma], in units of 255 gray levels.
        correlated: share of the patches whose noise is correlated alike in all directions.
        max_correlation: the correlation of these, see :func:`~.gaussian.correlated_noise`, is
            uniform in [0, max_correlation], in pixels.
        streaked: share of the patches whose noise is streaked in a random direction.
        max_streak: the correlation along the streaks is log-uniform in [0.5, max_streak], in
            pixels; that across them is uniform in [0, 0.5].
        uneven: share of the patches whose noise is stronger here than there.
    """

    max_sigma: float = 55.0
    correlated: float = 0.5
    max_correlation: float = 0.8
    streaked: float = 0.0
    max_streak: float = 6.0
    uneven: float = 0.0

    def __call__(self, clean: Patch, rng: np.random.Generator) -> tuple[Patch, Patch]:
        """Noisy and clean (C, H, W)."""
        noise = self._noise(clean.shape, rng.uniform(0.0, self.max_sigma) / 255.0, rng)
        if self.uneven and rng.random() < self.uneven:
            noise = noise * uneven_gain(clean.shape, rng, depth=rng.uniform(0.0, 0.8))
        return clean + noise, clean

    def _noise(self, shape: Sequence[int], sigma: float, rng: np.random.Generator) -> Patch:
        kind = rng.random()
        if kind < self.streaked:
            return correlated_noise(
                shape,
                sigma,
                rng,
                correlation=rng.uniform(0.0, 0.5),
                along=float(np.exp(rng.uniform(np.log(0.5), np.log(self.max_streak)))),
                angle=rng.uniform(0.0, np.pi),
            )
        if kind < self.streaked + self.correlated:
            correlation = rng.uniform(0.0, self.max_correlation)
            return correlated_noise(shape, sigma, rng, correlation=correlation)
        return gaussian_noise(shape, sigma, rng)
