"""The published network as its authors' code computes it, written anew and plainly.

The encoder is open_clip's ``ModifiedResNet`` as CLIP RN50 has it;
its fourth stage is computed though nothing uses it, BatchNorm is a module of its own in eval mode,
and a gray image becomes three channels by a 1x1 convolution of its own. Names are those of the
published checkpoints.

Source: Cheng, Liang, Tan, "Transfer CLIP for Generalizable Image Denoising", CVPR 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from open_clip.modified_resnet import ModifiedResNet
from torch import nn

RN50_LAYERS = (3, 4, 6, 3)


class Encoder(ModifiedResNet):
    """CLIP's image encoder without its attention pool; gives the image and five features."""

    def __init__(self, width: int, layers: Sequence[int]) -> None:
        super().__init__(list(layers), output_dim=8, heads=1, image_size=32, width=width)
        self.attnpool = None

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Features of ``image`` (B, 3, H, W), from the full size down to 1/32 of it."""
        x = self.act1(self.bn1(self.conv1(image)))
        x = self.act2(self.bn2(self.conv2(x)))
        x = self.act3(self.bn3(self.conv3(x)))
        features = [image, x]
        x = self.avgpool(x)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            features.append(x)
        return features


class ConvBlock(nn.Module):
    """Two 3x3 convolutions without bias, each with a leaky ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.LeakyReLU(0.2),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.LeakyReLU(0.2),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.block(x)
        return output


class UpBlock(nn.Module):
    """A level of the decoder; the lowest has nothing below it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.conv_block = ConvBlock(inputs, outputs)

    def forward(self, x: torch.Tensor | None, feature: torch.Tensor) -> torch.Tensor:
        if x is not None:
            feature = torch.cat([self.up(x), feature], dim=1)
        output: torch.Tensor = self.conv_block(feature)
        return output


class PublishedNetwork(nn.Module):
    """The denoiser for gray images.

    Args:
        width: of the encoder's stem; 64 is CLIP RN50.
        layers: blocks of the encoder's four stages; (3, 4, 6, 3) is CLIP RN50.
    """

    def __init__(self, width: int = 64, layers: Sequence[int] = RN50_LAYERS) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 3, 1, bias=False)
        self.encoder = Encoder(width, layers)
        skips = [16 * width, 8 * width, 4 * width, width, 3]
        outputs = [8 * width, 4 * width, 2 * width, width, width]
        self.up_path = nn.ModuleList(
            UpBlock(below + skip, output)
            for below, skip, output in zip([0, *outputs[:-1]], skips, outputs, strict=True)
        )
        self.last = nn.Conv2d(width, 1, 3, padding=1, bias=False)

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        """Denoise ``noisy`` (B, 1, H, W) in [0, 1]; H and W are multiples of 32."""
        features = self.encoder(self.first(noisy))
        x = None
        # The last feature, that of the fourth stage, is the one that nothing uses.
        for level, feature in zip(self.up_path, features[-2::-1], strict=True):
            x = level(x, feature)
        output: torch.Tensor = self.last(x)
        return output


def random_network(
    width: int, layers: Sequence[int] = RN50_LAYERS, seed: int = 0
) -> PublishedNetwork:
    """One with random weights, in eval mode.

    BatchNorm is random too: as it is first built, it hides the residual branches. The decoder
    is initialised so that what goes through it keeps its size.
    """
    torch.manual_seed(seed)
    network = PublishedNetwork(width, layers)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0.0, 0.1)
                module.running_mean.normal_(0.0, 0.1)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
        for level in network.up_path:
            for parameter in level.parameters():
                nn.init.kaiming_normal_(parameter, a=0.2)
    return network.eval()


def save_checkpoint(network: PublishedNetwork, path: Path) -> None:
    """As the authors' training code writes it."""
    torch.save({"params": network.state_dict()}, path)


def load_checkpoint(path: Path) -> PublishedNetwork:
    """A network from a checkpoint, in eval mode; width and layers are read off it."""
    tensors = torch.load(path, weights_only=True)["params"]
    layers = [
        len({name.split(".")[2] for name in tensors if name.startswith(f"encoder.layer{stage}.")})
        for stage in (1, 2, 3, 4)
    ]
    network = PublishedNetwork(len(tensors["encoder.conv3.weight"]), layers)
    network.load_state_dict(tensors)
    return network.eval()
