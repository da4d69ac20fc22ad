"""Noise power spectrum: how strong noise is at each spatial frequency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float64]
_PATCH = 32


@dataclass(frozen=True)
class RadialNPS:
    """A noise power spectrum, averaged around its centre.

    Attributes:
        frequency: centres of the rings, in 1/mm.
        power: in HU^2 mm^2.
        variance: integral of the two-dimensional spectrum, in HU^2.
    """

    frequency: Image
    power: Image
    variance: float

    @property
    def mean_frequency(self) -> float:
        """The frequency of the spectrum's centre of mass, in 1/mm; NaN without noise."""
        total = float(np.sum(self.power * self.frequency))
        weight = self.power * self.frequency
        return float(np.sum(weight * self.frequency) / total) if total > 0 else float("nan")

    @property
    def peak_frequency(self) -> float:
        """The frequency of its highest ring, in 1/mm."""
        return float(self.frequency[int(np.argmax(self.power))])


def noise_power_spectrum(patches: Sequence[Image], spacing: float) -> Image:
    """Two-dimensional spectrum (N, N) in HU^2 mm^2, zero frequency first.

    Args:
        patches: squares (N, N) of noise in HU; a plane is taken off each.
        spacing: of the pixels in mm.

    Raises:
        ValueError: there is no patch, or they are not square and of one size.

    Source: ICRU report 87 and AAPM TG-233: |DFT|^2 times pixel area over number of pixels.
    """
    if not patches:
        raise ValueError("a spectrum needs patches")
    size = patches[0].shape[0]
    if any(patch.shape != (size, size) for patch in patches):
        raise ValueError("patches must be squares of one size")
    power = [np.abs(np.fft.fft2(_without_plane(patch))) ** 2 for patch in patches]
    return np.asarray(np.mean(power, axis=0) * spacing**2 / size**2)


def radial(spectrum: Image, spacing: float) -> RadialNPS:
    """Rings of one frequency step each, up to half of the sampling rate."""
    size = spectrum.shape[0]
    frequency = np.fft.fftfreq(size, spacing)
    radius = np.hypot(frequency[:, None], frequency[None, :])
    step = 1.0 / (size * spacing)
    ring = np.rint(radius / step).astype(int)
    last = size // 2
    power = np.array([spectrum[ring == i].mean() for i in range(1, last + 1)])
    return RadialNPS(np.arange(1, last + 1) * step, power, float(spectrum.sum() * step**2))


def spectrum_within(image: Image, mask: NDArray[np.bool_], spacing: float) -> RadialNPS | None:
    """Spectrum of noise (H, W) in HU from the squares within ``mask``; None where there is none."""
    squares = [image[r : r + _PATCH, c : c + _PATCH] for r, c in flat_patches(mask)]
    return radial(noise_power_spectrum(squares, spacing), spacing) if squares else None


def flat_patches(mask: NDArray[np.bool_], size: int = _PATCH) -> list[tuple[int, int]]:
    """Corners of squares that lie within ``mask`` (H, W), half a square apart."""
    rows, columns = mask.shape
    return [
        (top, left)
        for top in range(0, rows - size + 1, size // 2)
        for left in range(0, columns - size + 1, size // 2)
        if mask[top : top + size, left : left + size].all()
    ]


def _without_plane(patch: Image) -> Image:
    rows, columns = np.mgrid[: patch.shape[0], : patch.shape[1]]
    plane = np.stack([rows.ravel(), columns.ravel(), np.ones(patch.size)], axis=1)
    fit, *_ = np.linalg.lstsq(plane, patch.ravel(), rcond=None)
    return np.asarray(patch - (plane @ fit).reshape(patch.shape))
