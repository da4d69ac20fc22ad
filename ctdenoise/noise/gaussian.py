"""White and spatially correlated Gaussian noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Noise = NDArray[np.float32]


def gaussian_noise(shape: Sequence[int], sigma: float, rng: np.random.Generator) -> Noise:
    """White Gaussian noise of standard deviation ``sigma``.

    Args:
        shape: of the result.
        sigma: standard deviation, in the unit of the image it is for.
        rng: source of randomness.
    """
    return np.asarray(sigma * rng.standard_normal(shape, dtype=np.float32), dtype=np.float32)


def correlated_noise(
    shape: Sequence[int],
    sigma: float,
    rng: np.random.Generator,
    *,
    correlation: float,
) -> Noise:
    """Stationary Gaussian noise that is correlated between neighbours.

    Args:
        shape: (..., H, W); the last two axes are spatial and wrap around.
        sigma: standard deviation, whatever the spectrum, in the unit of the image it is for.
        rng: source of randomness.
        correlation: standard deviation, in pixels, of the Gaussian that white noise is
            filtered with; 0 leaves it white.
    """
    height, width = shape[-2:]
    frequency = np.hypot(fft.fftfreq(height)[:, None], fft.rfftfreq(width)[None, :])
    response = np.exp(-2.0 * (np.pi * correlation * frequency) ** 2)
    # Columns of the half spectrum that stand for two of the whole one.
    weight = np.full(frequency.shape[1], 2.0)
    weight[0] = 1.0
    if width % 2 == 0:
        weight[-1] = 1.0
    power = np.sum(weight * response**2) / (height * width)
    white = rng.standard_normal(shape, dtype=np.float32)
    filtered = fft.irfft2(fft.rfft2(white) * response.astype(np.float32), s=(height, width))
    return np.asarray(sigma / np.sqrt(power) * filtered, dtype=np.float32)
