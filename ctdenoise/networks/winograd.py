"""Convolutions of 3 x 3 in fewer multiplications than they are written with.

Four neighbouring results of three taps are coefficients of a product of polynomials, and six values
of that product are enough to know it: six multiplications instead of twelve. Here each value is an
image of a quarter of the rows (or columns), so that six ordinary convolutions with one tap in that
direction do the work.

Source: Winograd, "Arithmetic Complexity of Computations", 1980; Lavin and Gray, "Fast Algorithms
for Convolutional Neural Networks", CVPR 2016; for points of little rounding, Barabasz et al.,
"Error Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks", 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

_TILE, _TAPS, _VALUES = 4, 3, 6
_POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
"""Where the polynomials' values are taken, besides at infinity. Near one, so that no value is much
larger than another, and such that bfloat16 holds the transform of the image exactly."""


def transforms() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The matrices (6, 6) of the image, (6, 3) of the weights, and (4, 6) of the results.

    Of six values ``d`` and three weights ``g``, ``results @ ((weights @ g) * (image @ d))`` are
    the four correlations.
    """
    points = np.array(_POINTS)
    image, weights = np.zeros((_VALUES, _VALUES)), np.zeros((_VALUES, _TAPS))
    results = np.zeros((_TILE, _VALUES))
    for i, point in enumerate(points):
        others = np.delete(points, i)
        image[i, :-1] = np.poly(others)[::-1]
        weights[i] = point ** np.arange(_TAPS) / np.prod(point - others)
        results[:, i] = point ** np.arange(_TILE)
    image[-1], weights[-1, -1], results[-1, -1] = np.poly(points)[::-1], 1.0, 1.0
    return image, weights, results


class Winograd(nn.Module):
    """What a convolution of three taps in each of ``axes`` does, and an activation after it.

    The result differs by rounding alone.

    Args:
        weight: (O, C, h, w), with three taps in each of ``axes`` and an odd number in the other;
            zeros are around the image, and the stride is 1.
        bias: (O), or None.
        axes: in which multiplications are saved: 2, down the rows, or 3, along them, or both.
        activation: of the result.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        *,
        axes: Sequence[int],
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self._axis, *others = axes
        self._activation = activation or nn.Identity()
        image, weights, results = transforms()
        self._results = results.tolist()
        # In every result, the values of these biases come to one.
        shares = np.linalg.pinv(results) @ np.ones(_TILE)
        self._values, self._products = nn.ModuleList(), nn.ModuleList()
        for of_image, of_weight, share in zip(image, weights, shares, strict=True):
            self._values.append(_value(weight.shape[1], of_image, self._axis))
            taps = torch.from_numpy(of_weight).reshape((-1, 1) if self._axis == 2 else (1, -1))
            part = (weight.double() * taps).sum(self._axis, keepdim=True).float()
            part_bias = None if bias is None else (bias.double() * share).float()
            self._products.append(
                Winograd(part, part_bias, axes=others) if others else convolution(part, part_bias)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Of ``x`` (B, C, H, W): (B, O, H, W)."""
        size = x.shape[self._axis]
        whole = _whole_tiles(x, self._axis)
        values = [f(g(whole)) for f, g in zip(self._products, self._values, strict=True)]
        results = [self._activation(_weighted(row, values)) for row in self._results]
        return _interleaved(results, self._axis).narrow(self._axis, 0, size)


def _value(channels: int, weights: NDArray[np.float64], axis: int) -> nn.Conv2d:
    """The image at one point: a tile's six rows or columns, which overlap, become one."""
    shape, stride, padding = (
        ((_VALUES, 1), (_TILE, 1), (1, 0)) if axis == 2 else ((1, _VALUES), (1, _TILE), (0, 1))
    )
    conv = nn.Conv2d(channels, channels, shape, stride, padding, groups=channels, bias=False)
    taps = torch.from_numpy(weights).float().reshape(1, 1, *shape)
    conv.weight = nn.Parameter(taps.repeat(channels, 1, 1, 1), requires_grad=False)
    return conv


def convolution(
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int = 1,
    *,
    padding: int | None = None,
) -> nn.Conv2d:
    """A convolution of these weights; without ``padding``, with zeros around half its size."""
    outputs, inputs, height, width = weight.shape
    around = (height // 2, width // 2) if padding is None else padding
    conv = nn.Conv2d(inputs, outputs, (height, width), stride, around, bias=bias is not None)
    conv.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    if bias is not None:
        conv.bias = nn.Parameter(bias.contiguous(), requires_grad=False)
    return conv


def _whole_tiles(x: torch.Tensor, axis: int) -> torch.Tensor:
    """``x`` with zeros below or to the right of it, up to whole tiles."""
    lacking = -x.shape[axis] % _TILE
    if isinstance(lacking, int) and lacking == 0:  # no int while a graph for any size is traced
        return x
    return F.pad(x, (0, 0, 0, lacking) if axis == 2 else (0, lacking))


def _weighted(weights: Sequence[float], images: Sequence[torch.Tensor]) -> torch.Tensor:
    parts = [(w, image) for w, image in zip(weights, images, strict=True) if w != 0]
    (first, total), *others = parts
    if first != 1:
        total = total * first
    for weight, image in others:
        total = torch.add(total, image, alpha=weight)
    return total


def _interleaved(images: Sequence[torch.Tensor], axis: int) -> torch.Tensor:
    """Every first row, or column, from the first image, every second from the second, and so on.

    In channels last, joining along the next dimension in memory is all that it takes.
    """
    joined = torch.cat(list(images), dim=3 if axis == 2 else 1).permute(0, 2, 3, 1)
    batch, channels, height, width = images[0].shape
    height, width = (height * _TILE, width) if axis == 2 else (height, width * _TILE)
    return joined.reshape(batch, height, width, channels).permute(0, 3, 1, 2)
