"""Noisy and clean patches of natural photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import Dataset

from ctdenoise.noise import gaussian_noise

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"})


def list_images(*folders: str | Path) -> list[Path]:
    """All images below ``folders``, sorted by path within each folder.

    Raises:
        FileNotFoundError: a folder holds no image.
    """
    found: list[Path] = []
    for folder in folders:
        images = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
        if not images:
            raise FileNotFoundError(f"no image in {folder}: give a folder of photographs")
        found += images
    return found


class NoisyPhotographs(Dataset[dict[str, torch.Tensor]]):
    """Random gray patches with Gaussian noise; item i depends on the seed and on i alone.

    A patch is a photograph in [0, 1], cropped, flipped and turned at random. Half of the
    patches keep that range. The others are stretched about a random gray level by a random
    gain, so that the network also meets images whose contrast is large against their noise,
    as CT is once its noise is brought to a level that the network knows. Half of the noise is
    white, half is correlated over a random length.

    Args:
        images: files to read, kept in memory as 8 bits a pixel.
        length: number of items.
        seed: seed of the whole sequence.
        patch_size: height and width of a patch in pixels.
        max_sigma: noise is uniform in [0, max_sigma], in units of 255 gray levels.
        max_gain: gain is log-uniform in [1, max_gain].
        max_correlation: correlation is uniform in [0, max_correlation], in pixels.
        jitter: also shift the brightness and contrast of the noisy patch by up to this much;
            for contrastive training, where the two patches need not be equal.
    """

    def __init__(
        self,
        images: Sequence[str | Path],
        *,
        length: int,
        seed: int,
        patch_size: int = 96,
        max_sigma: float = 55.0,
        max_gain: float = 8.0,
        max_correlation: float = 1.2,
        jitter: float = 0.0,
    ) -> None:
        self.photographs = [_read_gray(Path(path)) for path in images]
        too_small = [
            str(p)
            for p, a in zip(images, self.photographs, strict=True)
            if min(a.shape) < patch_size
        ]
        if too_small:
            raise ValueError(f"{too_small[0]} is smaller than a patch of {patch_size} pixels")
        self.length = length
        self.seed = seed
        self.patch_size = patch_size
        self.max_sigma = max_sigma
        self.max_gain = max_gain
        self.max_correlation = max_correlation
        self.jitter = jitter

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """``label``, the clean patch, and ``image``, the noisy one: (1, P, P) each."""
        rng = np.random.default_rng((self.seed, index))
        clean = self._patch(rng)
        if rng.random() < 0.5:
            gain = np.exp(rng.uniform(0.0, np.log(self.max_gain)))
            clean = (clean - rng.random()) * gain + 0.5
        noisy = clean
        if self.jitter:
            contrast, brightness = rng.uniform(-self.jitter, self.jitter, size=2)
            noisy = (noisy - noisy.mean()) * (1.0 + contrast) + noisy.mean() + brightness
        sigma = rng.uniform(0.0, self.max_sigma) / 255.0
        correlation = rng.uniform(0.0, self.max_correlation) if rng.random() < 0.5 else 0.0
        noisy = noisy + gaussian_noise(clean.shape, sigma, rng, correlation=correlation)
        return {
            "image": torch.from_numpy(noisy.astype(np.float32)),
            "label": torch.from_numpy(clean.astype(np.float32)),
        }

    def _patch(self, rng: np.random.Generator) -> NDArray[np.float32]:
        photograph = self.photographs[rng.integers(len(self.photographs))]
        top, left = (rng.integers(n - self.patch_size + 1) for n in photograph.shape)
        patch = photograph[top : top + self.patch_size, left : left + self.patch_size]
        patch = np.rot90(patch, int(rng.integers(4)))
        if rng.random() < 0.5:
            patch = patch[:, ::-1]
        return np.asarray(patch[None] / 255.0, dtype=np.float32)


def _read_gray(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))
