"""The same function as a denoiser's, in fewer operations: for inference on gray slices.

BatchNorm becomes part of the convolution before it. What makes three channels of one, and the mean
that makes one of three, become part of the convolutions after and before them. Convolutions of many
channels can be done in fewer multiplications (:mod:`ctdenoise.networks.winograd`). Only PyTorch is
needed, neither MONAI nor open_clip: a run starts sooner.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn import functional as F

from ctdenoise.networks.winograd import Winograd, convolution

Tensors = Mapping[str, torch.Tensor]

_EPSILON = 1e-5
"""Of BatchNorm, PyTorch's default."""

_LEAST_CHANNELS, _LEAST_WORK = 64, 250
"""Channels, and multiplications for each tap and pixel of the whole image, from which on fewer of
them are worth what is done to the image before and after, and the time to get ready."""

_MANY_CHANNELS = 512
"""From which on that holds in both directions at once."""

_TILE = 4
"""Rows and columns of the last result that are computed together."""

_STEM_STRIDES = {1: 2, 2: 1, 3: 1}


class FoldedDenoiser(nn.Module):
    """:class:`~ctdenoise.networks.CLIPDenoiser` from its tensors.

    A network of three channels is given the gray image in each, and its result is their mean.

    Args:
        tensors: its state dict.
        residual: it predicts the noise.
        parts: the image is given as so many channels, whose sum it is. In a format of few bits,
            two hold what one cannot: a rounded image, and what that lacks.
        savings: directions of the image in which multiplications may be saved, up to two.
    """

    def __init__(
        self, tensors: Tensors, *, residual: bool, parts: int = 1, savings: int = 0
    ) -> None:
        super().__init__()
        self.residual = residual
        self.parts = parts
        gray = tensors.get("first.weight", torch.ones(3, 1, 1, 1))
        top, head = "decoder.blocks.3.0.weight", "encoder.conv1.weight"
        tensors = {
            **tensors,
            head: _from_gray(tensors[head], gray, parts),
            top: torch.cat(
                [tensors[top][:, :-3], _from_gray(tensors[top][:, -3:], gray, parts)], dim=1
            ),
        }
        make = _Convolutions(tensors, savings)
        self.stem = nn.Sequential(
            *(
                make.at(2).folded(f"encoder.conv{i}", f"encoder.bn{i}", stride=_STEM_STRIDES[i])
                for i in (1, 2, 3)
            )
        )
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    _Bottleneck(
                        make.at(2 ** (stage + 1) // _stride(stage, i)),
                        f"encoder.layer{stage}.{i}",
                        stride=_stride(stage, i),
                    )
                    for i in range(_count(tensors, f"encoder.layer{stage}."))
                )
            )
            for stage in (1, 2, 3)
        )
        self.bottom = make.at(16).block("decoder.bottom")
        self.levels = nn.ModuleList(
            make.at(2 ** (3 - i)).block(f"decoder.blocks.{i}", exact=i == 3 and parts > 1)
            for i in range(4)
        )
        self.last = _InTiles(tensors["decoder.last.weight"].mean(0, keepdim=True))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Denoise ``image`` (B, parts, H, W) to (B, 1, H, W); H and W are multiples of 16."""
        x = self.stem(image)
        skips = [image, x]
        x = F.avg_pool2d(x, 2)
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        x = self.bottom(skips.pop())
        for level in self.levels:
            x = level(torch.cat([_upsample(x), skips.pop()], dim=1))
        output: torch.Tensor = self.last(x)
        return _summed(image, self.parts) - output if self.residual else output


class FoldedDnCNN(nn.Module):
    """:class:`~ctdenoise.networks.DnCNN` from its tensors; ``parts`` and ``savings`` as above."""

    def __init__(self, tensors: Tensors, *, parts: int = 1, savings: int = 0) -> None:
        super().__init__()
        self.parts = parts
        make = _Convolutions(tensors, savings)
        convs = sorted(
            int(name.split(".")[1]) for name, tensor in tensors.items() if tensor.ndim == 4
        )
        first, *middle, last = convs
        weight, bias = tensors[f"noise.{first}.weight"], tensors[f"noise.{first}.bias"]
        weight = _from_gray(weight, torch.ones(weight.shape[1], 1, 1, 1), parts)
        weight_out, bias_out = (
            tensors[f"noise.{last}.{kind}"].mean(0, keepdim=True) for kind in ("weight", "bias")
        )
        self.noise = nn.Sequential(
            make.conv(weight, bias, activation=nn.ReLU()),
            *(make.folded(f"noise.{i}", f"noise.{i + 1}") for i in middle),
            _InTiles(weight_out, bias_out),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Denoise ``image`` (B, parts, H, W) to (B, 1, H, W); H and W are multiples of 4."""
        denoised: torch.Tensor = _summed(image, self.parts) - self.noise(image)
        return denoised


class _Convolutions:
    """Makes convolutions of a network's tensors, each in as few multiplications as is worth it.

    Args:
        tensors: state dict of the network.
        savings: directions in which multiplications may be saved.
        scale: by which the image is smaller there than at the beginning.
    """

    def __init__(self, tensors: Tensors, savings: int, *, scale: int = 1) -> None:
        self.tensors = tensors
        self._savings = savings
        self._scale = scale

    def at(self, scale: int) -> _Convolutions:
        """Those of an image that is smaller."""
        return _Convolutions(self.tensors, self._savings, scale=scale)

    def folded(
        self, conv: str, norm: str, *, stride: int = 1, activation: nn.Module | None = None
    ) -> nn.Module:
        """A convolution with the BatchNorm after it, which is in eval mode; then, ReLU."""
        tensors = self.tensors
        mean, variance = tensors[f"{norm}.running_mean"], tensors[f"{norm}.running_var"]
        scale = tensors[f"{norm}.weight"] / torch.sqrt(variance + _EPSILON)
        weight = tensors[f"{conv}.weight"] * scale[:, None, None, None]
        bias = tensors[f"{norm}.bias"] - mean * scale
        return self.conv(weight, bias, stride=stride, activation=activation or nn.ReLU())

    def block(self, name: str, *, exact: bool = False) -> nn.Sequential:
        """A block of the decoder; ``exact`` if it is given parts of an image.

        To transform them in few bits would lose what they are two for.
        """
        first, second = (self.tensors[f"{name}.{i}.weight"] for i in (0, 2))
        entry = _Convolutions(self.tensors, 0) if exact else self
        return nn.Sequential(
            entry.conv(first, activation=nn.LeakyReLU(0.2)),
            self.conv(second, activation=nn.LeakyReLU(0.2)),
        )

    def conv(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None = None,
        *,
        stride: int = 1,
        activation: nn.Module,
    ) -> nn.Module:
        """A convolution of an image with zeros around it, then the activation."""
        outputs, inputs, size, _ = weight.shape
        worth = min(outputs, inputs) >= _LEAST_CHANNELS
        worth &= outputs * inputs >= _LEAST_WORK * self._scale**2
        if self._savings and worth and size == 3 and stride == 1:
            axes = (2, 3)[: self._savings] if inputs >= _MANY_CHANNELS else (2,)
            return Winograd(weight, bias, axes=axes, activation=activation)
        return nn.Sequential(convolution(weight, bias, stride), activation)


class _Bottleneck(nn.Module):
    """A residual block of CLIP's modified ResNet: it pools where others have a stride."""

    def __init__(self, make: _Convolutions, name: str, *, stride: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (make.folded(f"{name}.conv{i}", f"{name}.bn{i}") for i in (1, 2))
        nothing = nn.Identity()
        self.conv3 = make.folded(f"{name}.conv3", f"{name}.bn3", activation=nothing)
        self.stride = stride
        shortcut = f"{name}.downsample"
        self.shortcut = (
            make.folded(f"{shortcut}.0", f"{shortcut}.1", activation=nothing)
            if f"{shortcut}.0.weight" in make.tensors
            else nothing
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv2(self.conv1(x))
        if self.stride > 1:
            x, y = F.avg_pool2d(x, self.stride), F.avg_pool2d(y, self.stride)
        return F.relu(self.conv3(y) + self.shortcut(x))


class _InTiles(nn.Module):
    """A 3 x 3 convolution to one channel, a tile of whose pixels is computed as channels.

    One channel of results alone takes as long as sixteen.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        side = _TILE + 2
        tiled = torch.zeros(_TILE, _TILE, weight.shape[1], side, side)
        for row in range(_TILE):
            for column in range(_TILE):
                tiled[row, column, :, row : row + 3, column : column + 3] = weight[0]
        self.conv = convolution(
            tiled.flatten(0, 1), None if bias is None else bias.repeat(_TILE**2), _TILE, padding=1
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.pixel_shuffle(self.conv(x), _TILE)


def _upsample(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)


def _summed(image: torch.Tensor, parts: int) -> torch.Tensor:
    """The parts of an image (B, parts, H, W) together, in more bits than each has."""
    return image if parts == 1 else image.sum(1, keepdim=True, dtype=torch.float32)


def _stride(stage: int, block: int) -> int:
    return 2 if stage > 1 and block == 0 else 1


def _count(tensors: Tensors, prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)})


def _from_gray(weight: torch.Tensor, gray: torch.Tensor, parts: int) -> torch.Tensor:
    """Weights (O, parts, h, w) that do to a gray image what ``weight`` does to channels of it."""
    return (weight * gray.reshape(1, -1, 1, 1)).sum(1, keepdim=True).expand(-1, parts, -1, -1)
