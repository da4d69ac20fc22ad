"""The same function as a denoiser's, in fewer operations: for inference on gray slices.

BatchNorm becomes part of the convolution before it. What makes three channels of one, and the mean
that makes one of three, become part of the convolutions after and before them. Only PyTorch is
needed, neither MONAI nor open_clip: a run starts sooner.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

Tensors = Mapping[str, torch.Tensor]

_EPSILON = 1e-5
"""Of BatchNorm, PyTorch's default."""

_COARSE = (0, 1)
"""Levels of the decoder at which it pays to convolve before the upsampling."""

_BELOW = {
    "decoder.blocks.0": "decoder.bottom.2.weight",
    "decoder.blocks.1": "decoder.blocks.0.2.weight",
}
"""What makes the channels that a level gets from the level below it."""


class FoldedDenoiser(nn.Module):
    """:class:`~ctdenoise.networks.CLIPDenoiser` from its tensors.

    A network of three channels is given the gray image in each, and its result is their mean.

    Args:
        tensors: its state dict.
        residual: it predicts the noise.
        parts: the image is given as so many channels, whose sum it is. In a format of few bits,
            two hold what one cannot: a rounded image, and what that lacks.
    """

    def __init__(self, tensors: Tensors, *, residual: bool, parts: int = 1) -> None:
        super().__init__()
        self.residual = residual
        self.parts = parts
        gray = tensors.get("first.weight", torch.ones(3, 1, 1, 1))
        first, *others = (
            _folded(tensors, f"encoder.conv{i}", f"encoder.bn{i}", stride=2 if i == 1 else 1)
            for i in (1, 2, 3)
        )
        head = _from_gray(first.weight, gray, parts)
        first = _conv(head, first.bias, padding=1, stride=2)
        self.stem = nn.ModuleList([first, *others])
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    _Bottleneck(tensors, f"encoder.layer{stage}.{i}", stride=_stride(stage, i))
                    for i in range(_count(tensors, f"encoder.layer{stage}."))
                )
            )
            for stage in (1, 2, 3)
        )
        self.bottom = _block(tensors, "decoder.bottom")
        top = tensors["decoder.blocks.3.0.weight"]
        top = torch.cat([top[:, :-3], _from_gray(top[:, -3:], gray, parts)], dim=1)
        tensors = {**tensors, "decoder.blocks.3.0.weight": top}
        self.levels = nn.ModuleList(
            (_CoarseLevel if i in _COARSE else _Level)(tensors, f"decoder.blocks.{i}")
            for i in range(4)
        )
        self.last = _conv(tensors["decoder.last.weight"].mean(0, keepdim=True), padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Denoise ``image`` (B, parts, H, W) to (B, 1, H, W); H and W are multiples of 16."""
        x = image
        for conv in self.stem:
            x = F.relu(conv(x))
        skips = [image, x]
        x = F.avg_pool2d(x, 2)
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        x = self.bottom(skips.pop())
        for level in self.levels:
            x = level(x, skips.pop())
        output: torch.Tensor = self.last(x)
        return _summed(image, self.parts) - output if self.residual else output


class FoldedDnCNN(nn.Module):
    """:class:`~ctdenoise.networks.DnCNN` from its tensors; ``parts`` as above."""

    def __init__(self, tensors: Tensors, *, parts: int = 1) -> None:
        super().__init__()
        self.parts = parts
        convs = sorted(
            int(name.split(".")[1]) for name, tensor in tensors.items() if tensor.ndim == 4
        )
        first, *middle, last = (f"noise.{i}" for i in convs)
        channels = tensors[f"{first}.weight"].shape[1]
        head = _from_gray(tensors[f"{first}.weight"], torch.ones(channels, 1, 1, 1), parts)
        layers = [_conv(head, tensors[f"{first}.bias"], padding=1), nn.ReLU()]
        for name in middle:
            norm = f"noise.{int(name.split('.')[1]) + 1}"
            layers += [_folded(tensors, name, norm), nn.ReLU()]
        tail = tensors[f"{last}.weight"].mean(0, keepdim=True)
        layers.append(_conv(tail, tensors[f"{last}.bias"].mean(0, keepdim=True), padding=1))
        self.noise = nn.Sequential(*layers)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Denoise ``image`` (B, parts, H, W) to (B, 1, H, W)."""
        denoised: torch.Tensor = _summed(image, self.parts) - self.noise(image)
        return denoised


class _Level(nn.Module):
    """A level of the decoder: upsample, concatenate the finer feature, convolve."""

    def __init__(self, tensors: Tensors, name: str) -> None:
        super().__init__()
        self.block = _block(tensors, name)

    def forward(self, x: torch.Tensor, feature: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.block(torch.cat([_upsample(x), feature], dim=1))
        return output


class _CoarseLevel(nn.Module):
    """The same in fewer operations, where a level has many channels.

    Interpolation is linear, so that what is done to channels alone may be done before it, to a
    quarter of the pixels: the first convolution becomes one of 1 x 1 for each of its nine taps,
    whose results are upsampled, moved, and added.
    """

    def __init__(self, tensors: Tensors, name: str) -> None:
        super().__init__()
        weight = tensors[f"{name}.0.weight"]
        below = tensors[_BELOW[name]].shape[0]
        taps = weight[:, :below].permute(2, 3, 0, 1).reshape(-1, below, 1, 1)
        self.taps = _conv(taps, padding=0)
        self.feature = _conv(weight[:, below:], padding=1)
        self.rest = _block(tensors, name)[1:]

    def forward(self, x: torch.Tensor, feature: torch.Tensor) -> torch.Tensor:
        y = self.feature(feature)
        height, width = feature.shape[-2:]
        moved = F.pad(_upsample(self.taps(x)), (1, 1, 1, 1)).chunk(9, dim=1)
        for tap, part in enumerate(moved):
            row, column = divmod(tap, 3)
            y = y + part[:, :, row : row + height, column : column + width]
        output: torch.Tensor = self.rest(y)
        return output


class _Bottleneck(nn.Module):
    """A residual block of CLIP's modified ResNet: it pools where others have a stride."""

    def __init__(self, tensors: Tensors, name: str, *, stride: int) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (
            _folded(tensors, f"{name}.conv{i}", f"{name}.bn{i}") for i in (1, 2, 3)
        )
        self.stride = stride
        self.shortcut = (
            _folded(tensors, f"{name}.downsample.0", f"{name}.downsample.1")
            if f"{name}.downsample.0.weight" in tensors
            else None
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.conv2(F.relu(self.conv1(x))))
        if self.stride > 1:
            x, y = F.avg_pool2d(x, self.stride), F.avg_pool2d(y, self.stride)
        if self.shortcut is not None:
            x = self.shortcut(x)
        return F.relu(self.conv3(y) + x)


def _upsample(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)


def _summed(image: torch.Tensor, parts: int) -> torch.Tensor:
    """The parts of an image (B, parts, H, W) together, in more bits than each has."""
    return image if parts == 1 else image.sum(1, keepdim=True, dtype=torch.float32)


def _stride(stage: int, block: int) -> int:
    return 2 if stage > 1 and block == 0 else 1


def _count(tensors: Tensors, prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)})


def _block(tensors: Tensors, name: str) -> nn.Sequential:
    first, second = (_conv(tensors[f"{name}.{i}.weight"], padding=1) for i in (0, 2))
    return nn.Sequential(first, nn.LeakyReLU(0.2), second, nn.LeakyReLU(0.2))


def _from_gray(weight: torch.Tensor, gray: torch.Tensor, parts: int) -> torch.Tensor:
    """Weights (O, parts, h, w) that do to a gray image what ``weight`` does to channels of it."""
    return (weight * gray.reshape(1, -1, 1, 1)).sum(1, keepdim=True).expand(-1, parts, -1, -1)


def _folded(tensors: Tensors, conv: str, norm: str, stride: int = 1) -> nn.Conv2d:
    """A convolution with the BatchNorm after it, which is in eval mode."""
    mean, variance = tensors[f"{norm}.running_mean"], tensors[f"{norm}.running_var"]
    scale = tensors[f"{norm}.weight"] / torch.sqrt(variance + _EPSILON)
    weight = tensors[f"{conv}.weight"] * scale[:, None, None, None]
    bias = tensors[f"{norm}.bias"] - mean * scale
    return _conv(weight, bias, padding=weight.shape[-1] // 2, stride=stride)


def _conv(
    weight: torch.Tensor, bias: torch.Tensor | None = None, *, padding: int, stride: int = 1
) -> nn.Conv2d:
    outputs, inputs, size, _ = weight.shape
    conv = nn.Conv2d(inputs, outputs, size, stride, padding, bias=bias is not None)
    conv.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    if bias is not None:
        conv.bias = nn.Parameter(bias.contiguous(), requires_grad=False)
    return conv
