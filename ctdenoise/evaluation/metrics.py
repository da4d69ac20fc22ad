"""Figures of one denoised image against its reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import sobel
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ctdenoise.evaluation.images import WINDOWS, Kind
from ctdenoise.evaluation.texture import spectrum_within
from ctdenoise.hounsfield import HU, Mask, tissue_masks

NOISE_TISSUE = "fat_and_soft_tissue"
"""Where the spectrum of noise is measured."""

LEAST_PIXELS = 500
"""Fewer of a tissue class say nothing: the figure is left out."""


@dataclass(frozen=True)
class Figure:
    """One number. ``where`` names the window or tissue class, ``unit`` is HU, dB, 1/mm or none."""

    metric: str
    where: str
    value: float
    unit: str = ""


def figures(
    kind: Kind, reference: HU, padding: Mask, noisy: HU, denoised: HU, spacing: float
) -> list[Figure]:
    """All figures of an image (H, W)."""
    if kind == "photograph":
        return _photograph(reference, denoised)
    found = []
    masks = tissue_masks(reference, padding)
    for name, mask in masks.items():
        if np.count_nonzero(mask) >= LEAST_PIXELS:
            error = (denoised - reference)[mask]
            before = (noisy - reference)[mask]
            rmse = float(np.sqrt(np.mean(error**2)))
            found.append(Figure("rmse", name, rmse, "HU"))
            scale = float(np.sqrt(np.mean(before**2)))
            if scale > 0:
                found.append(Figure("rmse_ratio", name, rmse / scale))
            found.append(Figure("bias", name, float(np.mean((denoised - noisy)[mask])), "HU"))
    for name, window in WINDOWS.items():
        seen = [np.clip(window.to_unit(image), 0.0, 1.0) for image in (reference, denoised)]
        found.append(Figure("psnr", name, psnr(*seen), "dB"))
        found.append(Figure("ssim", name, _ssim(*seen)))
    found += _texture(denoised - reference, masks, spacing)
    found.append(Figure("residual_on_edges", "all", _on_edges(reference, padding, noisy, denoised)))
    return found


def _photograph(reference: HU, denoised: HU) -> list[Figure]:
    clipped = np.clip(denoised, 0.0, 1.0)
    return [
        Figure("psnr", "all", psnr(reference, clipped), "dB"),
        Figure("ssim", "all", _ssim(reference, clipped)),
    ]


def psnr(reference: HU, image: HU) -> float:
    """PSNR in dB of images in [0, 1]; infinite where they are the same."""
    if np.array_equal(reference, image):
        return float("inf")
    return float(peak_signal_noise_ratio(reference, image, data_range=1.0))


def _ssim(reference: HU, image: HU) -> float:
    if min(reference.shape) < 7:
        return float("nan")
    return float(structural_similarity(reference, image, data_range=1.0))


def _texture(error: HU, masks: Mapping[str, Mask], spacing: float) -> list[Figure]:
    """Frequency content of the error in soft tissue: denoisers that leave blotches lower it."""
    nps = spectrum_within(error, masks[NOISE_TISSUE], spacing)
    if nps is None:
        return []
    return [
        Figure("nps_mean_frequency", NOISE_TISSUE, nps.mean_frequency, "1/mm"),
        Figure("nps_peak_frequency", NOISE_TISSUE, nps.peak_frequency, "1/mm"),
    ]


def _on_edges(reference: HU, padding: Mask, noisy: HU, denoised: HU) -> float:
    """Correlation of what was removed, in size, with the edges of the reference.

    Noise knows no edges: 0 is good, and what is well above that of the noise itself is anatomy
    that was taken for noise.
    """
    edges = np.hypot(sobel(reference, 0), sobel(reference, 1))[~padding]
    removed = np.abs(noisy - denoised)[~padding]
    if edges.std() == 0 or removed.std() == 0:
        return float("nan")
    return float(np.corrcoef(edges, removed)[0, 1])
