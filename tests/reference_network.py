"""The published network, written a second time and plainly, on a dict of tensors.

It shares no code with the package; names are those of the published checkpoints.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

Weights = dict[str, torch.Tensor]


def published_forward(weights: Weights, image: torch.Tensor) -> torch.Tensor:
    f0 = F.conv2d(image, weights["first.weight"]) if "first.weight" in weights else image
    features = [f0, *_encode(weights, f0)]
    x = _block(weights, 0, features[4])
    for i, feature in enumerate(features[3::-1], start=1):
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        x = _block(weights, i, torch.cat([x, feature], dim=1))
    return F.conv2d(x, weights["last.weight"], padding=1)


def _encode(weights: Weights, x: torch.Tensor) -> list[torch.Tensor]:
    for i in (1, 2, 3):
        stride = 2 if i == 1 else 1
        x = F.conv2d(x, weights[f"encoder.conv{i}.weight"], stride=stride, padding=1)
        x = F.relu(_norm(weights, f"encoder.bn{i}", x))
    features = [x]
    x = F.avg_pool2d(x, 2)
    for stage in (1, 2, 3):
        block = 0
        while f"encoder.layer{stage}.{block}.conv1.weight" in weights:
            x = _bottleneck(weights, f"encoder.layer{stage}.{block}", x, stage > 1 and block == 0)
            block += 1
        features.append(x)
    return features


def _bottleneck(weights: Weights, name: str, x: torch.Tensor, halve: bool) -> torch.Tensor:
    y = F.relu(_norm(weights, f"{name}.bn1", F.conv2d(x, weights[f"{name}.conv1.weight"])))
    y = F.conv2d(y, weights[f"{name}.conv2.weight"], padding=1)
    y = F.relu(_norm(weights, f"{name}.bn2", y))
    if halve:
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    y = _norm(weights, f"{name}.bn3", F.conv2d(y, weights[f"{name}.conv3.weight"]))
    if f"{name}.downsample.0.weight" in weights:
        x = F.conv2d(x, weights[f"{name}.downsample.0.weight"])
        x = _norm(weights, f"{name}.downsample.1", x)
    return F.relu(x + y)


def _norm(weights: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    scale = weights[f"{name}.weight"] / torch.sqrt(weights[f"{name}.running_var"] + 1e-5)
    shift = weights[f"{name}.bias"] - weights[f"{name}.running_mean"] * scale
    return x * scale[:, None, None] + shift[:, None, None]


def _block(weights: Weights, i: int, x: torch.Tensor) -> torch.Tensor:
    for j in (0, 2):
        x = F.conv2d(x, weights[f"up_path.{i}.conv_block.block.{j}.weight"], padding=1)
        x = F.leaky_relu(x, 0.2)
    return x


def published_weights(
    width: int, layers: tuple[int, int, int], channels: int, seed: int = 0
) -> Weights:
    """Random weights in the form of a published checkpoint, the unused fourth stage included."""
    generator = torch.Generator().manual_seed(seed)
    weights: Weights = {}

    def conv(name: str, outputs: int, inputs: int, size: int) -> None:
        scale = (2.0 / (inputs * size * size)) ** 0.5
        shape = (outputs, inputs, size, size)
        weights[f"{name}.weight"] = scale * torch.randn(shape, generator=generator)

    def norm(name: str, n: int) -> None:
        weights[f"{name}.weight"] = 0.5 + torch.rand(n, generator=generator)
        weights[f"{name}.bias"] = 0.1 * torch.randn(n, generator=generator)
        weights[f"{name}.running_mean"] = 0.1 * torch.randn(n, generator=generator)
        weights[f"{name}.running_var"] = 0.5 + torch.rand(n, generator=generator)
        weights[f"{name}.num_batches_tracked"] = torch.tensor(1)

    if channels == 1:
        conv("first", 3, 1, 1)
    stem = [(3, width // 2), (width // 2, width // 2), (width // 2, width)]
    for i, (inputs, outputs) in enumerate(stem, start=1):
        conv(f"encoder.conv{i}", outputs, inputs, 3)
        norm(f"encoder.bn{i}", outputs)
    inputs = width
    for stage, blocks in enumerate((*layers, 1), start=1):
        planes = width * 2 ** (stage - 1)
        for block in range(blocks):
            name = f"encoder.layer{stage}.{block}"
            for i, (a, b, size) in enumerate(
                [(inputs, planes, 1), (planes, planes, 3), (planes, 4 * planes, 1)], start=1
            ):
                conv(f"{name}.conv{i}", b, a, size)
                norm(f"{name}.bn{i}", b)
            if block == 0:
                conv(f"{name}.downsample.0", 4 * planes, inputs, 1)
                norm(f"{name}.downsample.1", 4 * planes)
            inputs = 4 * planes
    f = [3, width, 4 * width, 8 * width, 16 * width]
    outputs = [8 * width, 4 * width, 2 * width, width, width]
    inputs_of = [f[4], 8 * width + f[3], 4 * width + f[2], 2 * width + f[1], width + f[0]]
    for i, (a, b) in enumerate(zip(inputs_of, outputs, strict=True)):
        conv(f"up_path.{i}.conv_block.block.0", b, a, 3)
        conv(f"up_path.{i}.conv_block.block.2", b, b, 3)
    conv("last", channels, width, 3)
    return weights
