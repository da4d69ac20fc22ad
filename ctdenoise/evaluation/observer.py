"""Channelized Hotelling observer: can a faint lesion still be found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import eval_laguerre
from scipy.stats import rankdata

Images = NDArray[np.float64]


@dataclass(frozen=True)
class Detectability:
    """Area under the ROC curve, with its 95 % interval by bootstrap over images."""

    auc: float
    lower: float
    upper: float


def laguerre_gauss(size: int, width: float, channels: int = 10) -> Images:
    """Channels (channels, size, size) for a lesion in the middle, each of norm 1.

    Args:
        size: of the images.
        width: of the Gaussian in pixels, about that of the lesion.
        channels: how many.

    Source: Gallas and Barrett, "Validating the use of channels to estimate the ideal linear
    observer", J Opt Soc Am A 20, 2003.
    """
    at = np.arange(size) - (size - 1) / 2
    square = 2.0 * np.pi * (at[:, None] ** 2 + at[None, :] ** 2) / width**2
    found = np.stack([np.exp(-square / 2) * eval_laguerre(j, square) for j in range(channels)])
    return np.asarray(found / np.linalg.norm(found, axis=(1, 2), keepdims=True))


def hotelling_auc(
    present: Images, absent: Images, channels: Images, *, seed: int = 0, resamples: int = 1000
) -> Detectability:
    """Detect a lesion by the Hotelling template of half of the images in the other half.

    Each half is trained on once, so that every image is judged by a template that never saw it.

    Args:
        present: images (N, H, W) with the lesion.
        absent: images (M, H, W) without.
        channels: (C, H, W).
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Raises:
        ValueError: there are too few images for so many channels.
    """
    flat = channels.reshape(len(channels), -1)
    seen = [images.reshape(len(images), -1) @ flat.T for images in (present, absent)]
    if min(len(part) for part in seen) < 2 * len(channels) + 4:
        raise ValueError(f"{len(channels)} channels need {2 * len(channels) + 4} images of each")
    scores: list[list[NDArray[np.float64]]] = [[], []]
    for fold in (0, 1):
        train = [part[1 - fold :: 2] for part in seen]
        covariance = 0.5 * sum(np.cov(part, rowvar=False) for part in train)
        template = np.linalg.solve(covariance, train[0].mean(0) - train[1].mean(0))
        for kind in (0, 1):
            scores[kind].append(seen[kind][fold::2] @ template)
    halves = [(scores[0][fold], scores[1][fold]) for fold in (0, 1)]
    rng = np.random.default_rng(seed)
    samples = [
        np.mean([_auc(rng.choice(p, len(p)), rng.choice(a, len(a))) for p, a in halves])
        for _ in range(resamples)
    ]
    lower, upper = np.percentile(samples, [2.5, 97.5])
    return Detectability(
        float(np.mean([_auc(p, a) for p, a in halves])), float(lower), float(upper)
    )


def _auc(present: NDArray[np.float64], absent: NDArray[np.float64]) -> float:
    ranks = rankdata(np.concatenate([present, absent]))[: len(present)]
    wins = ranks.sum() - len(present) * (len(present) + 1) / 2
    return float(wins / (len(present) * len(absent)))
