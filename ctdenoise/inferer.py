"""Whole slices of any size through a network, for MONAI's engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer
from torch.nn import functional as F

from ctdenoise.slices import margins


class WholeSliceInferer(Inferer):
    """Pad by reflection, run the network, cut the padding off.

    Whole slices, no tiles: the bilinear upsampling with aligned corners depends on the size of
    what it is given, so that tiles would change the result. A network of three channels gets
    the gray slice thrice, and its result is averaged.
    """

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Denoise ``inputs`` (B, S, H, W), of any H and W; each of the S is a slice of its own."""
        slices = inputs.flatten(0, 1).unsqueeze(1)
        height, width = slices.shape[-2:]
        below, right, mode = margins(height, width)
        seen = F.pad(slices, (0, right, 0, below), mode=mode)
        if getattr(network, "in_channels", 1) == 3:
            seen = seen.expand(-1, 3, -1, -1)
        output = network(seen, *args, **kwargs).mean(dim=1)
        return output[..., :height, :width].reshape(inputs.shape)
