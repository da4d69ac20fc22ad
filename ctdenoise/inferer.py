"""Whole slices of any size through the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monai.inferers import Inferer
from torch.nn import functional as F

MULTIPLE = 32


class WholeSliceInferer(Inferer):
    """Pad by reflection, run the network, cut the padding off.

    Whole slices, no tiles: the bilinear upsampling with aligned corners depends on the size of
    what it is given, so that tiles would change the result. A network of three channels gets
    the gray slice thrice, and its result is averaged.

    Args:
        stride: 2 shows the network every second pixel of every second row, as four images, and
            puts the results together again. Noise of CT is correlated between neighbours, which
            a network that knows white noise takes for texture; between every second pixel it
            hardly is. 1 shows whole slices.

    Source: of the stride: Zhou et al., "When AWGN-based Denoiser Meets Real Noises", AAAI 2020.
    """

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Denoise ``inputs`` (B, S, H, W), of any H and W; each of the S is a slice of its own."""
        slices = inputs.flatten(0, 1).unsqueeze(1)
        height, width = slices.shape[-2:]
        multiple = MULTIPLE * self.stride
        below, right = -height % multiple, -width % multiple
        # A slice smaller than its padding cannot be mirrored.
        mode = "reflect" if below < height and right < width else "replicate"
        phases = F.pixel_unshuffle(F.pad(slices, (0, right, 0, below), mode=mode), self.stride)
        seen = phases.flatten(0, 1).unsqueeze(1)
        if getattr(network, "in_channels", 1) == 3:
            seen = seen.expand(-1, 3, -1, -1)
        output = network(seen, *args, **kwargs).mean(dim=1).reshape(phases.shape)
        whole = F.pixel_shuffle(output, self.stride)
        return whole[..., :height, :width].reshape(inputs.shape)
