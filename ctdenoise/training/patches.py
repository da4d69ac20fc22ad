"""Noisy and clean patches, each from the seed and its own number alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from ctdenoise.errors import CTDenoiseError
from ctdenoise.training.images import ImageSet

Patch = NDArray[np.float32]
AddNoise = Callable[[Patch, np.random.Generator], tuple[Patch, Patch]]
"""From a clean patch (C, H, W) in [0, 1]: a noisy one, and the clean one that it belongs to."""


class NoisyPatches(Dataset[dict[str, torch.Tensor]]):
    """An endless row of random patches; item i depends on the seed and on i alone.

    That makes a resumed training, and one spread over processes, see the same data.

    Args:
        images: where patches come from.
        noise: what makes them noisy.
        seed: of the whole row.
        patch_size: height and width in pixels.
        max_gain: half of the patches are stretched in contrast about a random gray level, by
            a gain log-uniform in [1, max_gain], and so go beyond [0, 1]. 1 stretches none.
        subsampled: share of the patches that are made of every second pixel of a patch twice as
            large, as :class:`~ctdenoise.inferer.WholeSliceInferer` shows slices to the network.
        mixup: alpha of the Beta distribution of mixup, by which half of the patches are mixed
            with another one, noisy with noisy and clean with clean. 0 mixes none.
        jitter: shift the brightness and contrast of the noisy patch by up to this much; for
            contrastive training, where the two patches need not be equal.

    Raises:
        CTDenoiseError: an image is smaller than a patch.

    Source: mixup with identity: Zamir et al., "Restormer", CVPR 2022; Zhang et al., "mixup",
    ICLR 2018.
    """

    def __init__(
        self,
        images: ImageSet,
        noise: AddNoise,
        *,
        seed: int,
        patch_size: int = 128,
        max_gain: float = 1.0,
        subsampled: float = 0.0,
        mixup: float = 0.0,
        jitter: float = 0.0,
    ) -> None:
        for array, group in zip(images.arrays, images.groups, strict=True):
            if min(array.shape[1:]) < patch_size * (2 if subsampled else 1):
                raise CTDenoiseError(f"{group}: too small for patches of {patch_size} pixels")
        self.images = images
        self.noise = noise
        self.seed = seed
        self.patch_size = patch_size
        self.max_gain = max_gain
        self.subsampled = subsampled
        self.mixup = mixup
        self.jitter = jitter

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """``label``, the clean patch, and ``image``, the noisy one: (C, P, P) each."""
        rng = np.random.default_rng((self.seed, index))
        noisy, clean = self._pair(rng)
        if self.mixup and rng.random() < 0.5:
            weight = np.float32(rng.beta(self.mixup, self.mixup))
            other_noisy, other_clean = self._pair(rng)
            noisy = weight * noisy + (1 - weight) * other_noisy
            clean = weight * clean + (1 - weight) * other_clean
        return {"image": _tensor(noisy), "label": _tensor(clean)}

    def _pair(self, rng: np.random.Generator) -> tuple[Patch, Patch]:
        patch = self._stretch(self._patch(rng), rng)
        noisy, clean = self.noise(patch, rng)
        if self.jitter:
            contrast, brightness = rng.uniform(-self.jitter, self.jitter, size=2)
            noisy = noisy + np.float32(contrast) * (clean - clean.mean()) + np.float32(brightness)
        return noisy, clean

    def _patch(self, rng: np.random.Generator) -> Patch:
        which = int(rng.integers(len(self.images)))
        shape = self.images.arrays[which].shape[1:]
        step = 2 if self.subsampled and rng.random() < self.subsampled else 1
        size = step * self.patch_size
        top, left = (int(rng.integers(n - size + 1)) for n in shape)
        part = (slice(top, top + size, step), slice(left, left + size, step))
        patch = np.rot90(self.images.unit(which, part), int(rng.integers(4)), axes=(1, 2))
        return patch[..., ::-1] if rng.random() < 0.5 else patch

    def _stretch(self, patch: Patch, rng: np.random.Generator) -> Patch:
        if self.max_gain == 1.0 or rng.random() < 0.5:
            return patch
        gain = np.exp(rng.uniform(0.0, np.log(self.max_gain)))
        return (patch - np.float32(rng.random())) * np.float32(gain) + np.float32(0.5)


class ValidationImages(Dataset[dict[str, torch.Tensor]]):
    """The middle of each image, with noise that never changes.

    Args:
        images: one item each.
        noise: what makes them noisy.
        seed: of all noise.
        size: height and width of the middle in pixels, a multiple of 16; smaller images give
            what they have.
    """

    def __init__(self, images: ImageSet, noise: AddNoise, *, seed: int, size: int = 256) -> None:
        least = min(min(array.shape[1:]) for array in images.arrays)
        self.size = min(size, least // 16 * 16)
        self.images = images
        self.noise = noise
        self.seed = seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """``label`` and ``image``, (C, S, S) each."""
        starts = [(n - self.size) // 2 for n in self.images.arrays[index].shape[1:]]
        part = (slice(starts[0], starts[0] + self.size), slice(starts[1], starts[1] + self.size))
        noisy, clean = self.noise(
            self.images.unit(index, part), np.random.default_rng((self.seed, index))
        )
        return {"image": _tensor(noisy), "label": _tensor(clean)}


class BatchRow(Sampler[list[int]]):
    """Numbers of the items of each batch, in order, for one of several processes.

    Together the processes see the batches of a single one.

    Args:
        iterations: batches in all.
        batch_size: items in a batch of all processes together.
        rank: of this process.
        processes: how many there are; they share a batch equally.

    Attributes:
        start: the batch to begin with.

    Raises:
        CTDenoiseError: the batch cannot be shared equally.
    """

    def __init__(
        self, iterations: int, batch_size: int, *, rank: int = 0, processes: int = 1
    ) -> None:
        if batch_size % processes:
            raise CTDenoiseError(f"a batch of {batch_size} cannot be shared by {processes}")
        self.iterations = iterations
        self.batch_size = batch_size
        self.rank = rank
        self.processes = processes
        self.start = 0

    def __len__(self) -> int:
        return self.iterations

    def __iter__(self) -> Iterator[list[int]]:
        share = self.batch_size // self.processes
        for batch in range(self.start, self.iterations):
            first = batch * self.batch_size + self.rank * share
            yield list(range(first, first + share))


def _tensor(patch: Patch) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(patch, dtype=np.float32))
