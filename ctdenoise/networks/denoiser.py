"""The denoiser: a frozen dense encoder, the noisy image itself, and a learnable decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from ctdenoise.networks.encoder import RN50_LAYERS, RN50_WIDTH, DenseEncoder, freeze


def conv3x3(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)


def conv_block(in_channels: int, out_channels: int) -> nn.Sequential:
    """Two 3x3 convolutions, each followed by a leaky ReLU."""
    return nn.Sequential(
        conv3x3(in_channels, out_channels),
        nn.LeakyReLU(0.2),
        conv3x3(out_channels, out_channels),
        nn.LeakyReLU(0.2),
    )


def gray_to_rgb() -> nn.Conv2d:
    """A learnable 1x1 convolution from one channel to three that starts as a plain copy."""
    conv = nn.Conv2d(1, 3, kernel_size=1, bias=False)
    nn.init.ones_(conv.weight)
    return conv


class ProgressiveFeatureAugmentation(nn.Module):
    """Multiply F_i by N(1, (i * alpha)^2), elementwise, in training mode only.

    Deeper features get more noise; F0, the image itself, gets none.

    Source: "Transfer CLIP for Generalizable Image Denoising", section 3.3.
    """

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        if not self.training:
            return features
        return [
            feature * (1.0 + (i + 1) * self.alpha * torch.randn_like(feature))
            for i, feature in enumerate(features)
        ]


class Decoder(nn.Module):
    """From F4 up to the image: upsample, concatenate the next finer feature, convolve.

    Args:
        image_channels: channels of F0, the noisy image.
        out_channels: channels of the result.
        feature_channels: channels of F1..F4.
        widths: channels of the five blocks, from 1/16 of the size to the full one.
    """

    def __init__(
        self,
        image_channels: int,
        out_channels: int,
        feature_channels: Sequence[int],
        widths: Sequence[int],
    ) -> None:
        super().__init__()
        f1, f2, f3, f4 = feature_channels
        skips = [f3, f2, f1, image_channels]
        self.bottom = conv_block(f4, widths[0])
        self.blocks = nn.ModuleList(
            conv_block(below + skip, width)
            for below, skip, width in zip(widths[:-1], skips, widths[1:], strict=True)
        )
        self.upsample = nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=True)
        self.last = conv3x3(widths[-1], out_channels)

    def forward(self, image: torch.Tensor, features: list[torch.Tensor]) -> torch.Tensor:
        f1, f2, f3, f4 = features
        skips = [f3, f2, f1, image]
        x = self.bottom(f4)
        for i, block in enumerate(self.blocks):
            x = block(torch.cat([self.upsample(x), skips[i]], dim=1))
        output: torch.Tensor = self.last(x)
        return output


class CLIPDenoiser(nn.Module):
    """Denoise an image from the dense features of a frozen encoder and from the image itself.

    The encoder stays frozen and in eval mode, also while the decoder trains; pass
    ``frozen=False`` to train it end to end.

    Args:
        spatial_dims: 2; CLIP's encoder knows no other.
        in_channels: 3, or 1 with a learned bias-free 1x1 convolution to 3 channels in front.
        out_channels: channels of the result; by default as ``in_channels``.
        width: width of the encoder's stem; the decoder follows it. 64 is CLIP RN50.
        layers: blocks of the encoder's residual stages. (3, 4, 6) is CLIP RN50.
        decoder_widths: channels of the decoder's five blocks, from 1/16 of the size to the full
            one; by default the paper's: 8, 4, 2, 1 and 1 times ``width``.
        alpha: strength of the progressive feature augmentation in training.
        residual: predict the noise and subtract it, instead of the image. The paper
            predicts the image.
        frozen: keep the encoder as it is.

    Raises:
        ValueError: ``spatial_dims`` is not 2, or ``in_channels`` neither 1 nor 3, or a
            residual network is asked for another number of channels than it gets, or the
            decoder has not five widths.

    Source: Cheng, Liang, Tan, "Transfer CLIP for Generalizable Image Denoising", CVPR 2024.
    """

    def __init__(
        self,
        *,
        spatial_dims: int = 2,
        in_channels: int = 1,
        out_channels: int | None = None,
        width: int = RN50_WIDTH,
        layers: Sequence[int] = RN50_LAYERS,
        decoder_widths: Sequence[int] | None = None,
        alpha: float = 0.025,
        residual: bool = False,
        frozen: bool = True,
    ) -> None:
        super().__init__()
        if spatial_dims != 2:
            raise ValueError(f"CLIP's encoder is two-dimensional, got spatial_dims={spatial_dims}")
        if in_channels not in (1, 3):
            raise ValueError(f"in_channels must be 1 or 3, got {in_channels}")
        out_channels = in_channels if out_channels is None else out_channels
        if residual and out_channels != in_channels:
            raise ValueError("a residual denoiser gives as many channels as it gets")
        widths = decoder_widths or [8 * width, 4 * width, 2 * width, width, width]
        if len(widths) != 5:
            raise ValueError(f"the decoder has five blocks, got widths {tuple(widths)}")
        self.in_channels = in_channels
        self.residual = residual
        self.frozen = frozen
        self.first = gray_to_rgb() if in_channels == 1 else nn.Identity()
        self.encoder = DenseEncoder(width, layers)
        self.augment = ProgressiveFeatureAugmentation(alpha)
        self.decoder = Decoder(3, out_channels, self.encoder.feature_channels, widths)
        if frozen:
            freeze(self.encoder)

    def train(self, mode: bool = True) -> CLIPDenoiser:
        """Set the mode of the decoder; a frozen encoder stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        """Denoise ``noisy`` (B, C, H, W) in [0, 1]; H and W are multiples of 16."""
        f0 = self.first(noisy)
        features = self.augment(self.encoder(f0))
        output: torch.Tensor = self.decoder(f0, features)
        return noisy - output if self.residual else output
