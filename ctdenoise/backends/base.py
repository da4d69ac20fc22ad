"""What a backend is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Precision = Literal["fp32", "bf16", "fp16"]
Images = NDArray[np.float32]

SAVINGS: dict[Precision, int] = {"fp32": 2, "bf16": 1}
"""On a CPU, directions of the image in which convolutions save multiplications: each costs bits."""


@dataclass(frozen=True)
class Device:
    """Where a network is computed: a CPU, or the CUDA GPU of a number."""

    type: Literal["cpu", "cuda"]
    index: int | None = None

    def __str__(self) -> str:
        return self.type if self.index is None else f"{self.type}:{self.index}"


class Backend(Protocol):
    """A model ready to compute."""

    @property
    def name(self) -> str:
        """``torch`` or ``openvino``."""

    @property
    def device(self) -> Device:
        """Where it computes."""

    @property
    def batch_size(self) -> int:
        """Slices of 512 x 512 that it is good to give it at once."""

    def __call__(self, images: Images) -> Images:
        """Denoise images (N, H, W) in the network's range, of any H and W."""
