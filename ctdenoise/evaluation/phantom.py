"""A phantom of known truth: sharpness by contrast, detectability of lesions, and what is invented.

A denoiser that is not linear treats each contrast and each level of noise in its own way. So the
phantom is scanned many times by the simulation of :mod:`ctdenoise.noise.low_dose`, each scan is
denoised, and the figures are those of the ensemble.

Source: AAPM TG-233, "Performance evaluation of computed tomography systems", 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from ctdenoise.evaluation.metrics import Figure
from ctdenoise.evaluation.noises import LOW_DOSE, Noise, noisy_ct
from ctdenoise.evaluation.observer import hotelling_auc, laguerre_gauss
from ctdenoise.evaluation.resolution import task_transfer_function
from ctdenoise.evaluation.texture import noise_power_spectrum, radial
from ctdenoise.hounsfield import HU, Mask
from ctdenoise.noise.low_dose import Scan, calibrate, full_dose_noise
from ctdenoise.noise.named import named_generator
from ctdenoise.noise.projection import KERNELS

SIZE = 256
SPACING = 0.8
"""Of the pixels, in mm."""

FULL_DOSE_NOISE = 12.0
"""Standard deviation of the noise at full dose, in HU: about that of a routine body scan."""

BODY_HU = 40.0
BODY_RADIUS = 110.0
"""In pixels, as all lengths here."""

DISC_RADIUS = 15.0
DISC_RING = 72.0
DISCS = (-100.0, 50.0, 150.0, 800.0)
"""Contrasts in HU of the discs whose edges give the transfer function."""

LESION_RING = 32.0
LESIONS = ((5.0, 15.0), (8.0, 9.0), (12.0, 6.0))
"""Diameters in mm and contrasts in HU of lesions to be detected, two of each."""

REGION = 33
"""Side of the square around a lesion that the observer sees."""

CHANNELS = 5
LEAST_SCANS = CHANNELS + 2
"""Two lesions of a kind in each scan make as many images as the observer needs."""

_OVERSAMPLING = 6
_SCAN = Scan(views=360)


@dataclass(frozen=True)
class Lesion:
    """A round lesion that is there in half of the scans."""

    diameter_mm: float
    contrast: float
    centres: tuple[tuple[float, float], ...]

    def __str__(self) -> str:
        return f"{self.diameter_mm:g} mm, {self.contrast:+g} HU"

    @property
    def radius(self) -> float:
        return 0.5 * self.diameter_mm / SPACING


def _around(ring: float, count: int, first: float) -> list[tuple[float, float]]:
    """Places (row, column) around the middle."""
    middle = (SIZE - 1) / 2
    angles = first + 2.0 * np.pi * np.arange(count) / count
    return [(middle + ring * np.sin(a), middle + ring * np.cos(a)) for a in angles]


@dataclass(frozen=True)
class Phantom:
    """Water-like cylinder with discs and lesions.

    Attributes:
        scans: with lesions, and as many without.
    """

    scans: int

    @cached_property
    def lesions(self) -> list[Lesion]:
        places = _around(LESION_RING, 2 * len(LESIONS), 0.0)
        opposite = len(LESIONS)
        return [
            Lesion(*lesion, (places[i], places[i + opposite])) for i, lesion in enumerate(LESIONS)
        ]

    @cached_property
    def discs(self) -> list[tuple[float, tuple[float, float]]]:
        """Contrast and centre of each."""
        return list(zip(DISCS, _around(DISC_RING, len(DISCS), 0.4), strict=True))

    @cached_property
    def truth(self) -> tuple[HU, HU]:
        """The phantom (H, W) in HU, without lesions and with them, as sharp as the kernel is."""
        body = ((SIZE - 1) / 2, (SIZE - 1) / 2)
        without = _draw(body, BODY_RADIUS, BODY_HU + 1000.0)
        for contrast, centre in self.discs:
            without += _draw(centre, DISC_RADIUS, contrast)
        lesions = np.zeros_like(without)
        for lesion in self.lesions:
            for centre in lesion.centres:
                lesions += _draw(centre, lesion.radius, lesion.contrast)
        absent = _as_sharp_as(without, _SCAN.kernel) - 1000.0
        return absent, absent + _as_sharp_as(lesions, _SCAN.kernel)

    @cached_property
    def matched(self) -> Scan:
        """The scan at full dose: soft tissue has :data:`FULL_DOSE_NOISE`."""
        pair = (self.truth[0], self.padding)
        return calibrate(_SCAN, [pair], spacing=SPACING, noise=FULL_DOSE_NOISE)

    @property
    def padding(self) -> Mask:
        return np.zeros((SIZE, SIZE), dtype=np.bool_)

    @cached_property
    def uniform(self) -> Mask:
        """Pixels (H, W) where nothing but noise is, with or without lesions."""
        rows, columns = np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2
        body = np.hypot(rows, columns) < BODY_RADIUS - 12.0
        objects = np.abs(self.truth[1] - BODY_HU) > 0.05
        return np.asarray(body & ~binary_dilation(objects & body, iterations=8))

    def noisy(self, present: bool, noise: Noise, number: int) -> HU:
        """A scan (H, W) in HU with or without lesions; each has noise of its own.

        Raises:
            CTDenoiseError: the noise has no meaning for the phantom.
        """
        hu = self.truth[present]
        rng = named_generator(number, f"phantom {noise} {present}")
        if noise.name == LOW_DOSE:
            scan = replace(self.matched, photons=noise.strength * self.matched.photons)
            return hu + full_dose_noise(hu, self.padding, spacing=SPACING, scan=scan, rng=rng)
        return noisy_ct(hu, self.padding, noise, rng)

    def figures(self, noisy: Sequence[NDArray[np.float64]], made: Sequence[HU]) -> list[Figure]:
        """Figures of an ensemble.

        Args:
            noisy: scans (2, N, H, W) without and with lesions.
            made: the same, denoised.
        """
        absent, present = (np.stack(list(part)) for part in made)
        found = []
        mean = np.concatenate([absent, present]).mean(0)
        for contrast, centre in self.discs:
            ttf = task_transfer_function(mean, centre, DISC_RADIUS, SPACING)
            where = f"{contrast:+g} HU"
            found.append(Figure("ttf_half", where, ttf.half, "1/mm"))
            for f in np.arange(0.05, 0.5 / SPACING, 0.05):
                value = float(np.interp(f, ttf.frequency, ttf.value))
                found.append(Figure("ttf", where, value, at=float(f)))
        for lesion in self.lesions:
            found += self._detectability(lesion, absent, present)
        found += self._uniformity(absent, noisy[0])
        return found

    def _detectability(self, lesion: Lesion, absent: HU, present: HU) -> list[Figure]:
        channels = laguerre_gauss(REGION, 2.0 * lesion.radius, CHANNELS)
        with_it = np.concatenate([_regions(present, at) for at in lesion.centres])
        without = np.concatenate([_regions(absent, at) for at in lesion.centres])
        # The two places lie side by side in each fold, which so holds both of them.
        order = np.arange(len(with_it)).reshape(2, -1).T.ravel()
        auc = hotelling_auc(with_it[order], without[order], channels)
        kept = [
            np.mean([image.mean(0)[_disc(at, lesion.radius)].mean() for at in lesion.centres])
            for image in (present, absent)
        ]
        truth = [
            np.mean([self.truth[i][_disc(at, lesion.radius)].mean() for at in lesion.centres])
            for i in (1, 0)
        ]
        contrast = float((kept[0] - kept[1]) / (truth[0] - truth[1]))
        where = str(lesion)
        return [
            Figure("auc", where, auc.auc),
            Figure("auc_lower", where, auc.lower),
            Figure("auc_upper", where, auc.upper),
            Figure("contrast_kept", where, contrast),
        ]

    def _uniformity(self, absent: HU, noisy: HU) -> list[Figure]:
        """What is left of noise where nothing is, and what comes again in each scan."""
        noise = absent - absent.mean(0)
        count = len(absent)
        variance = float(np.mean(noise[:, self.uniform] ** 2) * count / (count - 1))
        square = float(np.mean((absent.mean(0) - self.truth[0])[self.uniform] ** 2))
        invented = np.sqrt(max(square - variance / count, 0.0))
        before = noisy - noisy.mean(0)
        ratio = np.sqrt(variance / np.mean(before[:, self.uniform] ** 2 * count / (count - 1)))
        patch = slice(SIZE // 2 - 10, SIZE // 2 + 10)
        spectrum = radial(noise_power_spectrum(list(noise[:, patch, patch]), SPACING), SPACING)
        found = [
            Figure("noise", "uniform", float(np.sqrt(variance)), "HU"),
            Figure("noise_ratio", "uniform", float(ratio)),
            Figure("invented", "uniform", float(invented), "HU"),
        ]
        if spectrum.variance > 0:
            found.append(Figure("nps_mean_frequency", "uniform", spectrum.mean_frequency, "1/mm"))
        pairs = zip(spectrum.frequency, spectrum.power, strict=True)
        return found + [Figure("nps", "uniform", float(p), "HU^2 mm^2", float(f)) for f, p in pairs]


def _draw(centre: tuple[float, float], radius: float, value: float) -> HU:
    """A disc (H, W), drawn finer and averaged."""
    fine = (np.arange(SIZE * _OVERSAMPLING) + 0.5) / _OVERSAMPLING - 0.5
    square = (fine[:, None] - centre[0]) ** 2 + (fine[None, :] - centre[1]) ** 2
    parts = (square < radius**2).reshape(SIZE, _OVERSAMPLING, SIZE, _OVERSAMPLING)
    return np.asarray(value * parts.mean((1, 3)))


def _as_sharp_as(image: HU, kernel: str) -> HU:
    """An image (H, W) with the blur that a kernel's apodisation leaves."""
    frequency = np.fft.fftfreq(SIZE)
    radius = np.minimum(np.hypot(frequency[:, None], frequency[None, :]), 0.5)
    transfer = KERNELS[kernel](torch.from_numpy(radius)).numpy()
    return np.asarray(np.fft.ifft2(np.fft.fft2(image) * transfer).real)


def _disc(centre: tuple[float, float], radius: float) -> Mask:
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return np.asarray(np.hypot(rows - centre[0], columns - centre[1]) < radius)


def _regions(images: HU, centre: tuple[float, float]) -> HU:
    """Squares (N, REGION, REGION) around a place, as near as pixels allow."""
    top, left = (round(c) - REGION // 2 for c in centre)
    return images[:, top : top + REGION, left : left + REGION]
