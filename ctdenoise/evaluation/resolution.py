"""Task transfer function: how sharp an edge of a given contrast stays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal.windows import tukey

Image = NDArray[np.float64]
_FINE = 0.1
"""Width of a bin of the edge's profile, in pixels."""


@dataclass(frozen=True)
class TransferFunction:
    """The transfer function of a disc's edge.

    Attributes:
        frequency: in 1/mm, from 0.
        value: 1 at frequency 0.
    """

    frequency: Image
    value: Image

    @property
    def half(self) -> float:
        """The frequency in 1/mm at which half of the contrast is left; NaN where it never is."""
        below = np.flatnonzero(self.value < 0.5)
        if not len(below):
            return float("nan")
        i = below[0]
        f, v = self.frequency[i - 1 : i + 1], self.value[i - 1 : i + 1]
        return float(np.interp(0.5, v[::-1], f[::-1]))


def task_transfer_function(
    disc: Image, centre: tuple[float, float], radius: float, spacing: float
) -> TransferFunction:
    """From an image (H, W) of a disc, the mean of many where there is noise.

    Args:
        disc: in HU.
        centre: row and column of its middle, in pixels.
        radius: of the disc, in pixels; its surroundings are uniform for half as much again.
        spacing: of pixels, in mm.

    Source: Richard et al., "Towards task-based assessment of CT performance", Med Phys 39, 2012:
    edge spread around a circle, derived to the line spread, transformed.
    """
    rows, columns = np.mgrid[: disc.shape[0], : disc.shape[1]]
    distance = np.hypot(rows - centre[0], columns - centre[1]) - radius
    reach = 0.5 * radius
    near = np.abs(distance) < reach
    edges = np.arange(-reach, reach + _FINE, _FINE)
    place = np.digitize(distance[near], edges) - 1
    count = np.bincount(place, minlength=len(edges))[: len(edges) - 1]
    total = np.bincount(place, weights=disc[near], minlength=len(edges))[: len(edges) - 1]
    at = 0.5 * (edges[:-1] + edges[1:])
    known = count > 0
    profile = np.interp(at, at[known], total[known] / count[known])
    # Narrower than any pixel: it only joins the bins.
    spread = -np.gradient(gaussian_filter1d(profile, 1.0))
    spread *= tukey(len(spread), 0.3)
    value = np.abs(np.fft.rfft(spread, 8 * len(spread)))
    frequency = np.fft.rfftfreq(8 * len(spread), _FINE * spacing)
    # What the joining has taken away.
    value /= np.exp(-2.0 * (np.pi * frequency * _FINE * spacing) ** 2)
    upto = frequency <= 1.0 / (2.0 * spacing)
    return TransferFunction(np.asarray(frequency[upto]), np.asarray(value[upto] / value[0]))
