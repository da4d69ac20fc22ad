"""White and spatially correlated Gaussian noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter


def gaussian_noise(
    shape: Sequence[int], sigma: float, rng: np.random.Generator, *, correlation: float = 0.0
) -> NDArray[np.float32]:
    """Stationary Gaussian noise of standard deviation ``sigma``.

    Args:
        shape: (..., H, W); the last two axes are spatial.
        sigma: standard deviation, in the unit of the image it is for.
        rng: source of randomness.
        correlation: standard deviation, in pixels, of the Gaussian kernel that white noise is
            filtered with; 0 leaves it white. The result has the asked ``sigma`` either way.
    """
    noise = rng.standard_normal(shape, dtype=np.float32)
    if correlation > 0:
        spatial = (0.0,) * (len(shape) - 2) + (correlation, correlation)
        noise = gaussian_filter(noise, spatial, mode="wrap")
        noise /= _filtered_sigma(correlation)
    return np.asarray(sigma * noise, dtype=np.float32)


def _filtered_sigma(correlation: float) -> float:
    """Standard deviation of unit white noise after the Gaussian filter."""
    size = 2 * int(4 * correlation + 0.5) + 1
    impulse = np.zeros((size, size))
    impulse[size // 2, size // 2] = 1.0
    return float(np.sqrt(np.sum(gaussian_filter(impulse, correlation) ** 2)))
