"""Figures of one denoised image against its reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import sobel
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ctdenoise.evaluation.images import WINDOWS, Kind
from ctdenoise.evaluation.texture import flat_patches, noise_power_spectrum, radial
from ctdenoise.hounsfield import HU, Mask, tissue_masks

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
    for name, mask in tissue_masks(reference, padding).items():
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
        found.append(Figure("psnr", name, _psnr(*seen), "dB"))
        found.append(Figure("ssim", name, _ssim(*seen)))
    found += _texture(reference, padding, denoised - reference, spacing)
    found.append(Figure("residual_on_edges", "all", _on_edges(reference, padding, noisy, denoised)))
    return found


def _photograph(reference: HU, denoised: HU) -> list[Figure]:
    clipped = np.clip(denoised, 0.0, 1.0)
    return [
        Figure("psnr", "all", _psnr(reference, clipped), "dB"),
        Figure("ssim", "all", _ssim(reference, clipped)),
    ]


def _psnr(reference: HU, image: HU) -> float:
    if np.array_equal(reference, image):
        return float("inf")
    return float(peak_signal_noise_ratio(reference, image, data_range=1.0))


def _ssim(reference: HU, image: HU) -> float:
    if min(reference.shape) < 7:
        return float("nan")
    return float(structural_similarity(reference, image, data_range=1.0))


def _texture(reference: HU, padding: Mask, error: HU, spacing: float) -> list[Figure]:
    """Frequency content of the error in soft tissue: denoisers that leave blotches lower it."""
    mask = tissue_masks(reference, padding)["fat_and_soft_tissue"]
    corners = flat_patches(reference, mask)
    if not corners or not spacing:
        return []
    patches = [error[top : top + 32, left : left + 32] for top, left in corners]
    nps = radial(noise_power_spectrum(patches, spacing), spacing)
    return [
        Figure("nps_mean_frequency", "fat_and_soft_tissue", nps.mean_frequency, "1/mm"),
        Figure("nps_peak_frequency", "fat_and_soft_tissue", nps.peak_frequency, "1/mm"),
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
