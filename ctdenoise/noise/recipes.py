"""The noises that networks are trained on: from a clean patch a noisy one and what it should be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctdenoise.noise.gaussian import correlated_noise, gaussian_noise

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
    """Gaussian noise of any level, white or correlated over a random length.

    Attributes:
        max_sigma: standard deviation is uniform in [0, max_sigma], in units of 255 gray levels.
        correlated: share of the patches whose noise is not white.
        max_correlation: the correlation of these, see :func:`~.gaussian.correlated_noise`, is
            uniform in [0, max_correlation], in pixels.
    """

    max_sigma: float = 55.0
    correlated: float = 0.5
    max_correlation: float = 0.8

    def __call__(self, clean: Patch, rng: np.random.Generator) -> tuple[Patch, Patch]:
        """Noisy and clean (C, H, W)."""
        sigma = rng.uniform(0.0, self.max_sigma) / 255.0
        if rng.random() >= self.correlated:
            return clean + gaussian_noise(clean.shape, sigma, rng), clean
        correlation = rng.uniform(0.0, self.max_correlation)
        return clean + correlated_noise(clean.shape, sigma, rng, correlation=correlation), clean
