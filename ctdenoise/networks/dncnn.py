"""DnCNN: what a plain network of the same training does."""

from __future__ import annotations

import torch
from torch import nn


class DnCNN(nn.Module):
    """Convolutions at full size that predict the noise.

    Args:
        channels: of the image.
        width: channels between the layers.
        depth: convolutions; 17 in the paper for one level of noise, 20 for any.

    Source: Zhang et al., "Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image
    Denoising", IEEE Transactions on Image Processing 26, 2017.
    """

    def __init__(self, *, channels: int = 1, width: int = 64, depth: int = 20) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
        for _ in range(depth - 2):
            layers += [
                nn.Conv2d(width, width, 3, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
        self.noise = nn.Sequential(*layers, nn.Conv2d(width, channels, 3, padding=1))
        self.in_channels = channels

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        """Denoise ``noisy`` (B, C, H, W) in [0, 1]."""
        denoised: torch.Tensor = noisy - self.noise(noisy)
        return denoised
