"""Where the benchmarks work, and how long."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.inputs import sample_hu
from benchmarks.interleaved import Rounds, Timed, Variant, environment, interleaved


@dataclass(frozen=True)
class Setting:
    """Where the benchmarks find and leave what they need, and how long they may take.

    Attributes:
        folder: temporary, of weights, series, results and OpenVINO's graphs.
        quick: only to see that all works.
    """

    folder: Path
    quick: bool = False

    @property
    def side(self) -> int:
        """Of the slices that go through networks alone."""
        return 256 if self.quick else 512

    @property
    def rounds(self) -> Rounds:
        """Of what takes parts of a second."""
        return Rounds(0, 2) if self.quick else Rounds(2, 7)

    @property
    def runs(self) -> Rounds:
        """Of whole commands, each a process of its own."""
        return Rounds(0, 1) if self.quick else Rounds(1, 3)

    @property
    def whole_runs(self) -> int:
        """Of runs over a whole series."""
        return 1 if self.quick else 2

    @property
    def memory_runs(self) -> Rounds:
        """Of runs whose memory is looked at, which differs little."""
        return Rounds(0, 1) if self.quick else Rounds(0, 2)

    @property
    def env(self) -> dict[str, str]:
        """Of processes: a cache of their own, and the C library's own malloc."""
        return environment(self.folder / "cache")

    @property
    def image(self) -> Path:
        """File of four slices (4, side, side) of the sample in [0, 1]."""
        path = self.folder / "image.npy"
        if not path.exists():
            begin = 256 - self.side // 2
            middle = slice(begin, begin + self.side)
            hu = sample_hu()[:4, middle, middle]
            np.save(path, ((hu + 1024.0) / 2048.0).clip(0.0, 1.0))
        return path

    def checkpoint(self, width: int) -> str:
        """A published checkpoint with random weights."""
        from benchmarks.published import random_network, save_checkpoint

        path = self.folder / f"published_{width}.pth"
        if not path.exists():
            save_checkpoint(random_network(width), path)
        return str(path)

    def tiny_model(self) -> str:
        """A model that costs next to nothing, with random weights."""
        from ctdenoise.models.card import ModelCard
        from ctdenoise.models.files import save_model
        from ctdenoise.networks import CLIPDenoiser

        path = self.folder / "tiny.safetensors"
        card = ModelCard(
            name="tiny",
            description="random weights",
            licence="Apache-2.0",
            encoder="random",
            training_data="none",
            training_noise="none",
            matched_sigma=0.08,
            residual=True,
        )
        save_model(path, CLIPDenoiser(width=8, layers=(1, 1, 1), residual=True), card)
        return str(path)

    def interleaved(
        self, variants: Iterable[Variant], save: dict[Variant, Path] | None = None
    ) -> dict[Variant, Timed]:
        """What variants take when they take turns."""
        return interleaved(variants, self.image, self.rounds, self.env, save)
