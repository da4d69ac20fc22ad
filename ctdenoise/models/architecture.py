"""The shape of a denoiser, read off its tensors, and the tensors that such a shape has."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ctdenoise.errors import CTDenoiseError

Shapes = dict[str, tuple[int, ...]]

_DECODER_BLOCKS = ("decoder.bottom.0.weight", *(f"decoder.blocks.{i}.0.weight" for i in range(4)))
_EXPANSION = 4


class _HasShape(Protocol):
    @property
    def shape(self) -> Sequence[int]: ...


@dataclass(frozen=True)
class EncoderShape:
    """CLIP's modified ResNet up to its third stage.

    Attributes:
        width: channels of the stem.
        layers: bottlenecks of the three stages.
    """

    width: int
    layers: tuple[int, ...]

    @classmethod
    def of(cls, tensors: Mapping[str, _HasShape], prefix: str = "") -> EncoderShape:
        """Read it off.

        Raises:
            KeyError: there is no encoder.
        """
        patterns = [re.compile(rf"{re.escape(prefix)}layer{stage}\.(\d+)\.") for stage in (1, 2, 3)]
        layers = [len({m[1] for name in tensors if (m := p.match(name))}) for p in patterns]
        return cls(int(tensors[f"{prefix}conv3.weight"].shape[0]), tuple(layers))

    def tensors(self) -> Shapes:
        """Names and shapes of its state dict, but for BatchNorm's counters."""
        width = self.width
        found: Shapes = {}
        for i, (inputs, outputs) in enumerate(
            [(3, width // 2), (width // 2, width // 2), (width // 2, width)], start=1
        ):
            found |= _convolution(f"conv{i}", inputs, outputs, 3) | _norm(f"bn{i}", outputs)
        inputs = width
        for stage, blocks in enumerate(self.layers, start=1):
            planes = width * 2 ** (stage - 1)
            for block in range(blocks):
                found |= _bottleneck(f"layer{stage}.{block}", inputs, planes, first=block == 0)
                inputs = planes * _EXPANSION
        return found


@dataclass(frozen=True)
class DenoiserShape:
    """A :class:`~ctdenoise.networks.CLIPDenoiser`.

    Attributes:
        in_channels: 1 or 3.
        out_channels: of the result.
        encoder: its encoder's shape.
        decoder_widths: channels of the decoder's five blocks.
    """

    in_channels: int
    out_channels: int
    encoder: EncoderShape
    decoder_widths: tuple[int, ...]

    @classmethod
    def of(cls, tensors: Mapping[str, _HasShape]) -> DenoiserShape:
        """Read it off.

        Raises:
            KeyError: the encoder, or a tensor of the decoder, is not there.
        """
        encoder = EncoderShape.of(tensors, "encoder.")
        return cls(
            in_channels=1 if "first.weight" in tensors else 3,
            out_channels=int(tensors["decoder.last.weight"].shape[0]),
            encoder=encoder,
            decoder_widths=tuple(int(tensors[name].shape[0]) for name in _DECODER_BLOCKS),
        )

    def tensors(self) -> Shapes:
        """Names and shapes of its state dict, but for BatchNorm's counters."""
        width = self.encoder.width
        found = {f"encoder.{name}": shape for name, shape in self.encoder.tensors().items()}
        if self.in_channels == 1:
            found |= _convolution("first", 1, 3, 1)
        skips = (0, 8 * width, 4 * width, width, 3)
        names = ("bottom", *(f"blocks.{i}" for i in range(4)))
        below = 16 * width
        for name, skip, outputs in zip(names, skips, self.decoder_widths, strict=True):
            found |= _convolution(f"decoder.{name}.0", below + skip, outputs, 3)
            found |= _convolution(f"decoder.{name}.2", outputs, outputs, 3)
            below = outputs
        return found | _convolution("decoder.last", below, self.out_channels, 3)


def check_shapes(
    name: str, tensors: Mapping[str, _HasShape], expected: Mapping[str, Sequence[int]], what: str
) -> None:
    """Make sure that the tensors of a file are those that are expected.

    Raises:
        CTDenoiseError: names or shapes differ; the message says that the file is not ``what``.
    """
    differences = [f"{key} is missing" for key in expected if key not in tensors]
    differences += [
        f"{key} is unknown"
        for key in tensors
        if key not in expected and not key.endswith("num_batches_tracked")
    ]
    differences += [
        f"{key} is {tuple(tensors[key].shape)}, not {tuple(shape)}"
        for key, shape in expected.items()
        if key in tensors and tuple(tensors[key].shape) != tuple(shape)
    ]
    if differences:
        more = f", and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise CTDenoiseError(f"{name}: not {what}: " + ", ".join(differences[:3]) + more)


def _bottleneck(name: str, inputs: int, planes: int, *, first: bool) -> Shapes:
    outputs = planes * _EXPANSION
    found: Shapes = {}
    for i, (a, b, size) in enumerate(
        [(inputs, planes, 1), (planes, planes, 3), (planes, outputs, 1)], start=1
    ):
        found |= _convolution(f"{name}.conv{i}", a, b, size) | _norm(f"{name}.bn{i}", b)
    if first:
        found |= _convolution(f"{name}.downsample.0", inputs, outputs, 1)
        found |= _norm(f"{name}.downsample.1", outputs)
    return found


def _convolution(name: str, inputs: int, outputs: int, size: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs, size, size)}


def _norm(name: str, channels: int) -> Shapes:
    return {f"{name}.{x}": (channels,) for x in ("weight", "bias", "running_mean", "running_var")}
