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
    along: float | None = None,
    angle: float = 0.0,
) -> Noise:
    """Stationary Gaussian noise that is correlated between neighbours.

    Args:
        shape: (..., H, W); the last two axes are spatial and wrap around.
        sigma: standard deviation, whatever the spectrum, in the unit of the image it is for.
        rng: source of randomness.
        correlation: standard deviation, in pixels, of the Gaussian that white noise is
            filtered with; 0 leaves it white.
        along: that in the direction of ``angle``, where it differs: the noise is streaked.
        angle: of the streaks, from the rows on, in radians.
    """
    height, width = shape[-2:]
    down, across = fft.fftfreq(height)[:, None], fft.rfftfreq(width)[None, :]
    u = across * np.cos(angle) + down * np.sin(angle)
    v = down * np.cos(angle) - across * np.sin(angle)
    reach = np.square((correlation if along is None else along) * u) + np.square(correlation * v)
    response = np.exp(-2.0 * np.pi**2 * reach)
    # Columns of the half spectrum that stand for two of the whole one.
    weight = np.full(across.shape[1], 2.0)
    weight[0] = 1.0
    if width % 2 == 0:
        weight[-1] = 1.0
    power = np.sum(weight * response**2) / (height * width)
    white = rng.standard_normal(shape, dtype=np.float32)
    filtered = fft.irfft2(fft.rfft2(white) * response.astype(np.float32), s=(height, width))
    return np.asarray(sigma / np.sqrt(power) * filtered, dtype=np.float32)


def uneven_gain(
    shape: Sequence[int], rng: np.random.Generator, *, depth: float
) -> NDArray[np.float32]:
    """A smooth gain (H, W) of mean square 1 that makes noise stronger here than there.

    Args:
        shape: (..., H, W).
        rng: source of randomness.
        depth: the gain's logarithm swings by so much up and down, over about twice the size.
    """
    height, width = shape[-2:]
    rows, columns = np.mgrid[:height, :width] / max(height, width)
    slope = rng.normal(0.0, 3.0, 2)
    wave = np.sin(slope[0] * rows + slope[1] * columns + rng.uniform(0.0, 2.0 * np.pi))
    gain = np.exp(depth * wave)
    return np.asarray(gain / np.sqrt(np.mean(gain**2)), dtype=np.float32)
