"""Images on their way into a network, as arrays: margins, and the parts of a number."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

MULTIPLE = 32
"""Sides that a network takes are multiples of this many pixels."""


def margins(height: int, width: int) -> tuple[int, int, Literal["reflect", "replicate"]]:
    """Rows below and columns right that make an image's sides multiples, and what fills them.

    A slice smaller than its margin cannot be mirrored.
    """
    below, right = -height % MULTIPLE, -width % MULTIPLE
    return below, right, "reflect" if below < height and right < width else "replicate"


def with_margins(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Images (N, H, W) with the margins that a network wants."""
    below, right, mode = margins(*images.shape[1:])
    if below == right == 0:
        return images
    around = ((0, 0), (0, below), (0, right))
    return np.pad(images, around, mode="reflect" if mode == "reflect" else "edge")


def halves(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Images (N, H, W) as two parts (N, 2, H, W): rounded to eight bits, and what that lacks.

    Each is what bfloat16 or half precision can hold; their sum has sixteen bits. One alone would
    be off by some HU where HU are far from the middle of the network's range.
    """
    bits = images.view(np.uint32)
    rounded = ((bits + np.uint32(0x8000)) & np.uint32(0xFFFF0000)).view(np.float32)
    return np.stack([rounded, images - rounded], axis=1)
