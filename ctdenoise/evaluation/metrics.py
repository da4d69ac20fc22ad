"""Figures of one denoised image against its reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import correlate1d, sobel
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ctdenoise.evaluation.images import WINDOWS, Kind
from ctdenoise.evaluation.noises import PAPER_WINDOW
from ctdenoise.evaluation.texture import RadialNPS, spectrum_within
from ctdenoise.hounsfield import HU, Mask, tissue_masks

NOISE_TISSUE = "fat_and_soft_tissue"
"""Where the spectrum of noise is measured."""

LEAST_PIXELS = 500
"""Fewer of a tissue class say nothing: the figure is left out."""

PAPER = "paper, -1024 to 3072 HU"
"""Where the figures of the paper's CT protocol are measured: over all of the slice."""

TOO_FEW = "too_few_pixels"


@dataclass(frozen=True)
class Figure:
    """One number.

    Attributes:
        metric: what it is.
        where: window, tissue class, or object that it is of.
        value: the number.
        unit: HU, dB, 1/mm, HU^2 mm^2, s, pixels, or none.
        at: of a curve, the spatial frequency in 1/mm; else NaN.
    """

    metric: str
    where: str
    value: float
    unit: str = ""
    at: float = float("nan")


def figures(
    kind: Kind, reference: HU, padding: Mask, noisy: HU, denoised: HU, spacing: float
) -> list[Figure]:
    """All figures of an image (H, W)."""
    if kind == "photograph":
        return _quality("all", reference, np.clip(denoised, 0.0, 1.0))
    masks = tissue_masks(reference, padding)
    found = too_few(masks)
    for name, mask in masks.items():
        if np.count_nonzero(mask) < LEAST_PIXELS:
            continue
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
        found += _quality(name, *seen)
    found += paper_figures(reference, denoised)
    found += texture(denoised - reference, masks[NOISE_TISSUE], spacing)
    found.append(residual_on_edges(reference, padding, noisy, denoised))
    return found


def _quality(where: str, reference: HU, image: HU) -> list[Figure]:
    """Of two images in [0, 1]."""
    found = [Figure("psnr", where, psnr(reference, image), "dB")]
    if min(reference.shape) >= 7:
        found.append(
            Figure("ssim", where, float(structural_similarity(reference, image, data_range=1.0)))
        )
    if min(reference.shape) >= _LEAST_SIDE:
        found += _fidelity(where, reference, image)
    return found


_LEAST_SIDE = 48
"""The pyramid of VIF needs 41 pixels a side."""


def _fidelity(where: str, reference: HU, image: HU) -> list[Figure]:
    """Visual information, gradient magnitude and feature similarity, of the package piq."""
    import piq

    pair = [torch.from_numpy(x.astype(np.float32))[None, None] for x in (image, reference)]
    return [
        Figure("vif", where, float(piq.vif_p(*pair, data_range=1.0))),
        Figure("gmsd", where, float(piq.gmsd(*pair, data_range=1.0))),
        Figure("fsim", where, float(piq.fsim(*pair, data_range=1.0, chromatic=False))),
    ]


def psnr(reference: HU, image: HU) -> float:
    """PSNR in dB of images in [0, 1]; infinite where they are the same."""
    if np.array_equal(reference, image):
        return float("inf")
    return float(peak_signal_noise_ratio(reference, image, data_range=1.0))


def paper_figures(reference: HU, image: HU) -> list[Figure]:
    """PSNR in dB and SSIM of slices (H, W) in HU as the paper's CT test defines them.

    Over the whole slice, HU cut to -1024..3072, a data range of 4096. SSIM has a Gaussian window
    of 11 x 11 pixels (sigma 1.5), no sample correction, and 0 HU beyond the borders.

    Source: the published code of "Transfer CLIP for Generalizable Image Denoising", CVPR 2024,
    which brings [0, 1] back to HU by 4120 instead of 4096; that slip is not repeated here.
    """
    a, b = (np.clip(x, PAPER_WINDOW.lower, PAPER_WINDOW.upper) for x in (reference, image))
    error = float(np.mean((a - b) ** 2))
    data_range = PAPER_WINDOW.width
    ratio = 10.0 * np.log10(data_range**2 / error) if error > 0 else np.inf
    weights = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weights /= weights.sum()

    def mean(x: HU) -> HU:
        for axis in (0, 1):
            x = correlate1d(x, weights, axis, mode="constant")
        return x

    mean_a, mean_b = mean(a), mean(b)
    variance_a, variance_b = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    similarity = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a**2 + mean_b**2 + c1) * (variance_a + variance_b + c2)
    )
    return [
        Figure("psnr", PAPER, float(ratio), "dB"),
        Figure("ssim", PAPER, float(np.mean(similarity))),
    ]


def texture(error: HU, mask: Mask, spacing: float) -> list[Figure]:
    """Frequency content of an error (H, W) in HU: denoisers that leave blotches lower it."""
    nps = spectrum_within(error, mask, spacing)
    if nps is None or nps.variance == 0:
        return []
    return [
        Figure("nps_mean_frequency", NOISE_TISSUE, nps.mean_frequency, "1/mm"),
        Figure("nps_peak_frequency", NOISE_TISSUE, nps.peak_frequency, "1/mm"),
        *_curve(nps),
    ]


def _curve(nps: RadialNPS) -> list[Figure]:
    pairs = zip(nps.frequency, nps.power, strict=True)
    return [Figure("nps", NOISE_TISSUE, float(p), "HU^2 mm^2", float(f)) for f, p in pairs]


def residual_on_edges(reference: HU, padding: Mask, noisy: HU, denoised: HU) -> Figure:
    """Correlation of what was removed, in size, with the edges of the reference.

    Noise knows no edges: 0 is good, and what is well above that of the noise itself is anatomy
    that was taken for noise.
    """
    edges = np.hypot(sobel(reference, 0), sobel(reference, 1))[~padding]
    removed = np.abs(noisy - denoised)[~padding]
    known = edges.std() > 0 and removed.std() > 0
    value = float(np.corrcoef(edges, removed)[0, 1]) if known else float("nan")
    return Figure("residual_on_edges", "all", value)


def too_few(masks: Mapping[str, Mask]) -> list[Figure]:
    """The tissue classes of which a slice has too little."""
    counts = {name: int(np.count_nonzero(mask)) for name, mask in masks.items()}
    return [Figure(TOO_FEW, name, n, "pixels") for name, n in counts.items() if n < LEAST_PIXELS]
