"""The dense encoder: CLIP's modified ResNet, kept up to its third residual stage."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from open_clip.modified_resnet import ModifiedResNet
from torch import nn

RN50_WIDTH = 64
RN50_LAYERS = (3, 4, 6)


class DenseEncoder(ModifiedResNet):
    """Dense features F1..F4 of an image, from open_clip's ``ModifiedResNet``.

    The fourth residual stage and the attention pool are not built: the decoder does not
    use them. The image enters in [0, 1] at its own size, without CLIP's mean and standard
    deviation.

    Args:
        width: channels of the stem's last convolution; 64 is RN50.
        layers: bottleneck blocks of the three residual stages; (3, 4, 6) is RN50.

    Source: Cheng, Liang, Tan, "Transfer CLIP for Generalizable Image Denoising", CVPR 2024,
    section 3.2.
    """

    def __init__(self, width: int = RN50_WIDTH, layers: Sequence[int] = RN50_LAYERS) -> None:
        if len(layers) != 3:
            raise ValueError(f"layers counts the blocks of three stages, got {tuple(layers)}")
        super().__init__(layers=[*layers, 1], output_dim=1, heads=1, image_size=32, width=width)
        del self.layer4, self.attnpool
        self.feature_channels = (width, 4 * width, 8 * width, 16 * width)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Dense features of ``image`` (B, 3, H, W), with H and W multiples of 16.

        Returns:
            F1 (B, w, H/2, W/2), before the stem's average pool; F2 (B, 4w, H/4, W/4);
            F3 (B, 8w, H/8, W/8); F4 (B, 16w, H/16, W/16), where w is the width.
        """
        stem = self.act1(self.bn1(self.conv1(image)))
        stem = self.act2(self.bn2(self.conv2(stem)))
        f1 = self.act3(self.bn3(self.conv3(stem)))
        f2 = self.layer1(self.avgpool(f1))
        f3 = self.layer2(f2)
        f4 = self.layer3(f3)
        return [f1, f2, f3, f4]


def freeze(module: nn.Module) -> None:
    """Put ``module`` into eval mode and stop gradients to its parameters."""
    module.eval()
    module.requires_grad_(False)
