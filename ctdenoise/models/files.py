"""Denoisers to and from files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ctdenoise.errors import CTDenoiseError
from ctdenoise.models.architecture import DenoiserShape, EncoderShape, check_shapes
from ctdenoise.models.card import ModelCard
from ctdenoise.models.naming import denoiser_tensors, encoder_tensors
from ctdenoise.models.tensors import Tensors, as_arrays, read_tensors

if TYPE_CHECKING:
    from torch import nn

    from ctdenoise.networks import CLIPDenoiser, DenseEncoder, DnCNN

CARD_KEY = "ctdenoise"
_DNCNN = "noise.0.weight"


@dataclass(frozen=True)
class LoadedModel:
    """A denoiser: its tensors, its card, and the SHA-256 of its weights."""

    tensors: Tensors
    card: ModelCard
    digest: str

    @cached_property
    def network(self) -> nn.Module:
        """The network as it was trained, in eval mode."""
        if _DNCNN in self.tensors:
            network: nn.Module = _dncnn(self.tensors)
        else:
            network = _denoiser(DenoiserShape.of(self.tensors), self.card)
        return _filled(network, self.tensors)

    def folded(self, *, parts: int = 1, savings: int = 0) -> nn.Module:
        """The same function of gray images (N, parts, H, W) in fewer operations, for inference.

        In channels last, the faster layout on CPUs as on GPUs.
        """
        import torch

        from ctdenoise.networks.folded import FoldedDenoiser, FoldedDnCNN

        tensors = {name: torch.from_numpy(array) for name, array in self.tensors.items()}
        if _DNCNN in tensors:
            network: nn.Module = FoldedDnCNN(tensors, parts=parts, savings=savings)
        else:
            network = FoldedDenoiser(
                tensors, residual=self.card.residual, parts=parts, savings=savings
            )
        return network.eval().to(memory_format=torch.channels_last)


def save_model(path: str | Path, network: nn.Module, card: ModelCard) -> None:
    """Write weights and card to ``path`` (safetensors), whole or not at all."""
    from safetensors.torch import save as to_safetensors

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()
    }
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(to_safetensors(tensors, metadata={CARD_KEY: card.to_json()}))
    os.replace(partial, path)


def load_model(path: Path, clip_weights: Path | None = None) -> LoadedModel:
    """Load a denoiser from our own format or a published checkpoint.

    Widths, layers and channels are read off the tensors; a DnCNN of ours loads as well.

    Args:
        path: safetensors, or a PyTorch file with a state dict (``{"params": ...}`` as well).
        clip_weights: take the encoder from this file instead of from ``path``.

    Raises:
        CTDenoiseError: a file is missing, damaged, or not a denoiser of this architecture;
            the message says what differs.
    """
    tensors, metadata = read_tensors(path)
    tensors = denoiser_tensors(tensors)
    if clip_weights is not None:
        tensors = _with_encoder(tensors, clip_weights)
    card = _card(path, metadata, tensors)
    if _DNCNN in tensors:
        expected: Mapping[str, Any] = {
            name: tensor.shape for name, tensor in _dncnn(tensors).state_dict().items()
        }
    else:
        expected = _expected(path, tensors, card)
    check_shapes(path.name, tensors, expected, "a denoiser of this architecture")
    # Files from before PyTorch 0.4 have no such counters, and nothing here needs them.
    for name in expected:
        if name.endswith("running_var"):
            counter = name.replace("running_var", "num_batches_tracked")
            tensors.setdefault(counter, np.array(0, dtype=np.int64))
    return LoadedModel(tensors=tensors, card=card, digest=digest(tensors))


def encoder_of(path: Path) -> DenseEncoder:
    """The encoder of a file, in eval mode: a denoiser's, one alone, or a whole CLIP's.

    Width and layers are read off the tensors.

    Raises:
        CTDenoiseError: the file is damaged or holds no encoder of CLIP's shape.
    """
    from ctdenoise.networks import DenseEncoder

    tensors = encoder_tensors(read_tensors(path)[0])
    if "conv3.weight" not in tensors:
        raise CTDenoiseError(f"{path.name}: holds no encoder of CLIP's shape")
    shape = EncoderShape.of(tensors)
    encoder = DenseEncoder(shape.width, shape.layers)
    fill(path, encoder, tensors, what="an encoder of CLIP's shape")
    encoder.eval()
    return encoder


def digest(tensors: Mapping[str, Any]) -> str:
    """SHA-256 over names, types, shapes and values, whatever file they came from."""
    if tensors and not isinstance(next(iter(tensors.values())), np.ndarray):
        tensors = as_arrays(tensors)
    total = hashlib.sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name]).reshape(tensors[name].shape)
        total.update(f"{name} torch.{array.dtype} {array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def fill(path: Path, network: nn.Module, tensors: Tensors, *, what: str) -> None:
    """Load the tensors of a file into ``network``.

    Raises:
        CTDenoiseError: names or shapes differ; the message says that the file is not ``what``.
    """
    own = network.state_dict()
    expected = {n: t.shape for n, t in own.items() if not n.endswith("num_batches_tracked")}
    check_shapes(path.name, tensors, expected, what)
    _filled(network, tensors)


def _filled(network: nn.Module, tensors: Tensors) -> nn.Module:
    import torch

    counters = {name for name in network.state_dict() if name.endswith("num_batches_tracked")}
    found = {name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}
    for name in counters - found.keys():
        found[name] = torch.tensor(0)
    network.load_state_dict(found)
    return network.eval()


def _with_encoder(tensors: Tensors, clip_weights: Path) -> Tensors:
    encoder = encoder_tensors(read_tensors(clip_weights)[0])
    if not encoder:
        raise CTDenoiseError(f"{clip_weights.name}: holds no CLIP ResNet encoder")
    kept = {name: t for name, t in tensors.items() if not name.startswith("encoder.")}
    return kept | {f"encoder.{name}": tensor for name, tensor in encoder.items()}


def _card(path: Path, metadata: Mapping[str, str], tensors: Tensors) -> ModelCard:
    if CARD_KEY in metadata:
        try:
            return ModelCard.from_json(metadata[CARD_KEY])
        except ValueError as error:
            raise CTDenoiseError(f"{path.name}: {error}") from None
    gray = "first.weight" in tensors
    return ModelCard(
        name=path.stem,
        description="a checkpoint in the published form",
        licence="unknown",
        encoder="as the file has it",
        training_data="unknown",
        training_noise="taken to be white Gaussian, sigma "
        + ("5 of 255, as in the paper's CT recipe" if gray else "15 of 255, as in the paper"),
        matched_sigma=(5.0 if gray else 15.0) / 255.0,
    )


def _expected(path: Path, tensors: Tensors, card: ModelCard) -> Mapping[str, tuple[int, ...]]:
    try:
        shape = DenoiserShape.of(tensors)
    except KeyError as error:
        what = str(error).strip("'").split(".")[0]
        raise CTDenoiseError(
            f"{path.name}: not a denoiser of this architecture: it has no {what}"
            + ("; name one with --clip-weights" if what == "encoder" else "")
        ) from None
    if card.residual and shape.in_channels != shape.out_channels:
        raise CTDenoiseError(
            f"{path.name}: not a denoiser of this architecture: a residual denoiser gives as many "
            "channels as it gets"
        )
    return shape.tensors()


def _denoiser(shape: DenoiserShape, card: ModelCard) -> CLIPDenoiser:
    from ctdenoise.networks import CLIPDenoiser

    return CLIPDenoiser(
        in_channels=shape.in_channels,
        out_channels=shape.out_channels,
        width=shape.encoder.width,
        layers=shape.encoder.layers,
        decoder_widths=shape.decoder_widths,
        residual=card.residual,
    )


def _dncnn(tensors: Tensors) -> DnCNN:
    from ctdenoise.networks import DnCNN

    width, channels = tensors[_DNCNN].shape[:2]
    depth = sum(name.endswith(".weight") and tensor.ndim == 4 for name, tensor in tensors.items())
    return DnCNN(channels=channels, width=width, depth=depth)
