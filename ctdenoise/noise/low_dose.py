"""Low-dose CT: the noise that the same scan would have had at a fraction of its dose.

The noise alone is reconstructed, to be added to the slice, which so keeps its kernel and detail.

Source: Yu et al., "Development and validation of a practical lower-dose-simulation tool for
optimizing computed tomography scan protocols", J Comput Assist Tomogr 36, 2012.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ctdenoise.hounsfield import AIR, HU, Mask, tissue_masks
from ctdenoise.noise.projection import KERNELS, backproject, filter_views, project

Sinogram = NDArray[np.float64]

# Linear attenuation of water in 1/mm by photon energy in keV (NIST XCOM).
_WATER_KEV = (40.0, 50.0, 60.0, 80.0, 100.0, 150.0)
_WATER_PER_MM = (0.02683, 0.02269, 0.02059, 0.01837, 0.01707, 0.01505)

FIELD_RADIUS_MM = 250.0
"""Radius of the scan field that the bowtie filter is made for."""

_BOWTIE_LEAST = 0.05
_LEAST_COUNT = 1.0


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The parallel-beam scan that stands for the real one.

    Attributes:
        photons: counts of a ray through air in the middle of the field, at full dose.
        electronic_noise: standard deviation of the detector's own noise in counts.
        kev: effective energy, 40 to 150.
        views: over half a turn.
        kernel: apodisation of the ramp filter, one of :data:`~.projection.KERNELS`.

    Raises:
        ValueError: a value is out of range.
    """

    photons: float = 6e4
    electronic_noise: float = 10.0
    kev: float = 65.0
    views: int = 900
    kernel: str = "hann"

    def __post_init__(self) -> None:
        if not self.photons > 0:
            raise ValueError(f"photons must be above 0, got {self.photons}")
        if not self.electronic_noise >= 0:
            raise ValueError(f"electronic noise must not be negative, got {self.electronic_noise}")
        if not _WATER_KEV[0] <= self.kev <= _WATER_KEV[-1]:
            raise ValueError(f"energy must be 40 to 150 keV, got {self.kev}")
        if self.views < 1:
            raise ValueError(f"a scan needs views, got {self.views}")
        if self.kernel not in KERNELS:
            raise ValueError(f"unknown kernel {self.kernel}: use one of {', '.join(KERNELS)}")

    @property
    def water(self) -> float:
        """Attenuation of water in 1/mm."""
        return float(np.exp(np.interp(self.kev, _WATER_KEV, np.log(_WATER_PER_MM))))

    def counts(self, path: Sinogram, spacing: float) -> Sinogram:
        """Expected counts of rays at full dose, from their line integrals (views, detectors)."""
        offset = (np.arange(path.shape[1]) - (path.shape[1] - 1) / 2) * spacing
        chord = np.sqrt(np.maximum(FIELD_RADIUS_MM**2 - offset**2, 0.0))
        bowtie = np.exp(-2.0 * self.water * (FIELD_RADIUS_MM - chord))
        return np.asarray(self.photons * np.maximum(bowtie, _BOWTIE_LEAST) * np.exp(-path))


def low_dose_noise(
    hu: HU, padding: Mask, *, spacing: float, dose: float, scan: Scan, rng: np.random.Generator
) -> HU:
    """Noise (H, W) in HU to add to a slice so that it looks like one at a fraction of its dose.

    Photons and electronic noise are drawn in counts, at least one count is read, and the
    logarithm is taken, as in a scanner. The mean error of that is taken off, and only the
    variance that the slice does not have yet is put in.

    Args:
        hu: the slice (H, W), taken as noise-free where the rays' counts are concerned.
        padding: pixels that are no image; to the rays they are air.
        spacing: of pixels and of detectors, in mm.
        dose: fraction of the full dose, above 0 and at most 1; 1 gives no noise.
        scan: the scan.
        rng: source of randomness.

    Raises:
        ValueError: ``dose`` or ``spacing`` is out of range.
    """
    if not 0 < dose <= 1:
        raise ValueError(f"dose must be above 0 and at most 1, got {dose}")
    counts = _counts(hu, padding, spacing, scan)
    table = _LogCounts(scan.electronic_noise, float(dose * counts.min()), float(counts.max()))
    mean, variance = table(dose * counts)
    _, present = table(counts)
    missing = np.sqrt(np.maximum(variance - present, 0.0) / variance)
    read = rng.poisson(dose * counts) + rng.normal(0.0, scan.electronic_noise, counts.shape)
    log_error = np.log(np.maximum(read, _LEAST_COUNT)) - np.log(dose * counts) - mean
    return _reconstruct(-missing * log_error, hu.shape, spacing, scan)


def full_dose_noise(
    hu: HU, padding: Mask, *, spacing: float, scan: Scan, rng: np.random.Generator
) -> HU:
    """Noise (H, W) in HU that a slice would have at full dose, had it none of its own."""
    return _full_dose_noise(_counts(hu, padding, spacing, scan), hu.shape, spacing, scan, rng)


def calibrate(
    scan: Scan,
    slices: Sequence[tuple[HU, Mask]],
    *,
    spacing: float,
    noise: float,
    seed: int = 0,
) -> Scan:
    """The scan with as many photons as give soft tissue the noise that a series has.

    Args:
        scan: its photons are where the search starts.
        slices: some slices of the series, each with its padding.
        spacing: of pixels, in mm.
        noise: noise of the series in soft tissue, in HU.
        seed: of the trial noise.

    Raises:
        ValueError: no slice has soft tissue.
    """
    masks = [tissue_masks(hu, padding)["fat_and_soft_tissue"] for hu, padding in slices]
    if not any(mask.any() for mask in masks):
        raise ValueError("no soft tissue to measure noise in")
    counts = [_counts(hu, padding, spacing, scan) for hu, padding in slices]
    more = 1.0
    for _ in range(3):
        rng = np.random.default_rng(seed)
        trial = [
            _full_dose_noise(more * count, mask.shape, spacing, scan, rng)[mask]
            for count, mask in zip(counts, masks, strict=True)
        ]
        more *= float(np.std(np.concatenate(trial)) / noise) ** 2
    # As many digits as are said, so that a last bit elsewhere does not draw other photons.
    return replace(scan, photons=float(f"{more * scan.photons:.4g}"))


def poisson_quantiles(
    rank: NDArray[np.float64], expected: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fewest counts whose cumulative probability reaches ``rank``, for ``expected`` counts.

    The Cornish-Fisher expansion is at most one count off where ranks are not extreme, and is put
    right by the distribution itself: far faster than a search for each, as in scipy.stats.
    """
    from scipy.special import ndtri, pdtr

    z = ndtri(rank)
    about = expected + np.sqrt(expected) * z + (z**2 - 1.0) / 6.0
    counts = np.floor(np.maximum(about, 0.0))
    counts += pdtr(counts, expected) < rank
    counts -= (counts > 0) & (pdtr(counts - 1.0, expected) >= rank)
    return np.asarray(counts)


def _counts(hu: HU, padding: Mask, spacing: float, scan: Scan) -> Sinogram:
    if not spacing > 0:
        raise ValueError(f"pixel spacing must be above 0, got {spacing}")
    relative = np.maximum(1.0 + np.where(padding, AIR, hu) / 1000.0, 0.0)
    path = project(torch.from_numpy(relative), scan.views) * (scan.water * spacing)
    return scan.counts(path.numpy().astype(np.float64), spacing)


def _full_dose_noise(
    counts: Sinogram,
    shape: tuple[int, ...],
    spacing: float,
    scan: Scan,
    rng: np.random.Generator,
) -> HU:
    table = _LogCounts(scan.electronic_noise, float(counts.min()), float(counts.max()))
    sigma = np.sqrt(table(counts)[1])
    return _reconstruct(sigma * rng.standard_normal(counts.shape), shape, spacing, scan)


def _reconstruct(error: Sinogram, shape: tuple[int, ...], spacing: float, scan: Scan) -> HU:
    filtered = filter_views(torch.from_numpy(error.astype(np.float32)), scan.kernel)
    attenuation = backproject(filtered, (shape[0], shape[1])) / spacing
    return attenuation.numpy().astype(np.float64) * (1000.0 / scan.water)


class _LogCounts:
    """Mean and variance of log(max(Poisson + electronic, 1)) - log(expected), by table."""

    def __init__(self, electronic_noise: float, least: float, most: float) -> None:
        expected = np.geomspace(max(least, 1e-9), max(most, 2e-9), 256)
        rank = (np.arange(256) + 0.5) / 256
        photons = poisson_quantiles(rank[None, :], expected[:, None])
        nodes, weights = np.polynomial.hermite_e.hermegauss(15)
        read = photons[..., None] + electronic_noise * nodes
        error = np.log(np.maximum(read, _LEAST_COUNT)) - np.log(expected)[:, None, None]
        weights = weights / weights.sum() / len(rank)
        self._at = np.log(expected)
        self._mean = np.sum(error * weights, axis=(1, 2))
        self._variance = np.sum(error**2 * weights, axis=(1, 2)) - self._mean**2

    def __call__(self, expected: Sinogram) -> tuple[Sinogram, Sinogram]:
        at = np.log(expected)
        return np.interp(at, self._at, self._mean), np.exp(
            np.interp(at, self._at, np.log(np.maximum(self._variance, 1e-30)))
        )
