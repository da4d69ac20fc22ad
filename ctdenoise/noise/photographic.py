"""The noises that a denoiser of photographs is tested on, as the paper defines them.

Source: Cheng, Liang, Tan, "Transfer CLIP for Generalizable Image Denoising", CVPR 2024, section
4.1, and the noise functions of its published code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve

Image = NDArray[np.float64]


def gaussian(image: Image, sigma: float, rng: np.random.Generator) -> Image:
    """White Gaussian noise of ``sigma`` (of 255) on ``image`` (..., H, W) in [0, 1]; unclipped."""
    return np.asarray(image + rng.normal(0.0, sigma / 255.0, image.shape))


def spatial(image: Image, sigma: float, rng: np.random.Generator) -> Image:
    """White Gaussian noise of ``sigma`` (of 255) after a mean over 3 x 3 pixels; unclipped.

    What remains of the standard deviation is a third.
    """
    noise = rng.normal(0.0, sigma / 255.0, image.shape)
    mean = np.full((1,) * (image.ndim - 2) + (3, 3), 1.0 / 9.0)
    filtered: Image = convolve(noise, mean, mode="reflect")
    return image + filtered


def poisson(
    image: Image, alpha: float, rng: np.random.Generator, *, levels: int | None = None
) -> Image:
    """Poisson noise enlarged ``alpha`` times, clipped to [0, 1].

    Args:
        image: (..., H, W) in [0, 1].
        alpha: the enlargement.
        rng: source of randomness.
        levels: photons that make 1; by default the power of two that is not below the number of
            different values of the 8-bit image.
    """
    eight_bits = np.round(np.clip(image, 0.0, 1.0) * 255.0)
    if levels is None:
        levels = 2 ** int(np.ceil(np.log2(len(np.unique(eight_bits)))))
    clean = eight_bits / 255.0
    return np.clip(image + alpha * (rng.poisson(clean * levels) / levels - clean), 0.0, 1.0)


def speckle(image: Image, variance: float, rng: np.random.Generator) -> Image:
    """Uniform multiplicative noise of mean 0 and ``variance``, clipped to [0, 1]."""
    width = np.sqrt(12.0 * variance)
    return np.asarray(np.clip(image + image * width * (rng.random(image.shape) - 0.5), 0.0, 1.0))


def salt_and_pepper(image: Image, density: float, rng: np.random.Generator) -> Image:
    """A share ``density`` of all values becomes 0 or 1, either as likely."""
    chance = rng.random(image.shape)
    return np.where(chance < density / 2, 0.0, np.where(chance < density, 1.0, image))


def mixture(
    image: Image, strength: float, rng: np.random.Generator, *, levels: int | None = None
) -> Image:
    """Our own: speckle, Poisson, Gaussian, then salt and pepper.

    At ``strength`` 1: variance 0.01, alpha 1, sigma 10 and density 0.005; each in proportion.
    The paper publishes no mixture. ``levels`` is that of :func:`poisson`.
    """
    image = speckle(image, 0.01 * strength, rng)
    image = poisson(image, strength, rng, levels=levels)
    image = gaussian(image, 10.0 * strength, rng)
    return salt_and_pepper(image, 0.005 * strength, rng)


NOISES: Mapping[str, Callable[[Image, float, np.random.Generator], Image]] = MappingProxyType(
    {
        "gaussian": gaussian,
        "spatial": spatial,
        "poisson": poisson,
        "speckle": speckle,
        "salt-pepper": salt_and_pepper,
        "mixture": mixture,
    }
)
"""By the names that the command line knows."""
