"""Figures of a denoised slice of CT whose truth nobody knows."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_erosion, gaussian_filter
from skimage.feature import canny

from ctdenoise.evaluation.metrics import (
    LEAST_PIXELS,
    NOISE_TISSUE,
    Figure,
    residual_on_edges,
    texture,
    too_few,
)
from ctdenoise.hounsfield import AIR, HU, Mask, tissue_masks
from ctdenoise.measured_noise import noise_level

_EDGE_SCALE = 1.5
"""Standard deviation in pixels of the mean over which edges are found."""

_EDGE_QUANTILE = 0.95
"""Share of the pixels that have less steep a slope than an edge."""


def unreferenced_figures(before: HU, padding: Mask, after: HU, spacing: float) -> list[Figure]:
    """Figures of a slice (H, W) in HU, as it was and denoised.

    ``noise`` is what is left in soft tissue, ``noise_ratio`` that over what was there. ``bias`` is
    the mean change of a tissue. ``edge_kept`` is the mean slope across the steepest edges over
    what it was: noise has hardly a mean slope there, so that blur lowers it and
    its removal does not. Texture is that of what is left within soft tissue, anatomy included.
    """
    masks = tissue_masks(before, padding)
    found = too_few(masks)
    for name, mask in masks.items():
        if np.count_nonzero(mask) >= LEAST_PIXELS:
            found.append(Figure("bias", name, float(np.mean((after - before)[mask])), "HU"))
    noise = [noise_level(image, padding) for image in (before, after)]
    if noise[0] and noise[1] is not None:
        found.append(Figure("noise", NOISE_TISSUE, noise[1], "HU"))
        found.append(Figure("noise_ratio", NOISE_TISSUE, noise[1] / noise[0]))
    kept = edge_kept(before, padding, after)
    if kept is not None:
        found.append(Figure("edge_kept", "all", kept))
    found += texture(after, masks[NOISE_TISSUE], spacing)
    found.append(residual_on_edges(before, padding, before, after))
    return found


def edge_kept(before: HU, padding: Mask, after: HU) -> float | None:
    """Mean slope of ``after`` across the steepest edges of ``before``, over that of it.

    Edges are Canny's, on a Gaussian mean of ``before``, which gives their directions too; the
    slopes are between the neighbours of a pixel.

    Returns:
        None where the slice (H, W) has no edge.
    """
    filled = [np.where(padding, AIR, image) for image in (before, after)]
    # The border and the edges of padding are no anatomy.
    inside = binary_erosion(~padding, iterations=3)
    steep = canny(
        filled[0],
        sigma=_EDGE_SCALE,
        low_threshold=_EDGE_QUANTILE,
        high_threshold=_EDGE_QUANTILE,
        mask=inside,
        use_quantiles=True,
    )
    if not steep.any():
        return None
    direction = [g[steep] for g in np.gradient(gaussian_filter(filled[0], _EDGE_SCALE))]
    slopes = [
        sum(float(g[steep] @ d) for g, d in zip(np.gradient(image), direction, strict=True))
        for image in filled
    ]
    return slopes[1] / slopes[0] if slopes[0] > 0 else None
