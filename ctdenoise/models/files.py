"""Denoisers to and from files."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save as to_safetensors
from torch import nn

from ctdenoise.errors import CTDenoiseError
from ctdenoise.models.card import ModelCard
from ctdenoise.models.naming import denoiser_tensors, encoder_tensors
from ctdenoise.models.tensors import Tensors, read_tensors
from ctdenoise.networks import CLIPDenoiser, DenseEncoder, DnCNN

CARD_KEY = "ctdenoise"

_DECODER_BLOCKS = ("decoder.bottom.0.weight", *(f"decoder.blocks.{i}.0.weight" for i in range(4)))


@dataclass(frozen=True)
class LoadedModel:
    """A denoiser in eval mode, its card, and the SHA-256 of its weights."""

    network: nn.Module
    card: ModelCard
    digest: str


def save_model(path: str | Path, network: nn.Module, card: ModelCard) -> None:
    """Write weights and card to ``path`` (safetensors), whole or not at all."""
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
    network = _build(path, tensors, card)
    fill(path, network, tensors, what="a denoiser of this architecture")
    # Channels last is the faster layout for inference, on CPUs as on GPUs.
    network.eval().to(memory_format=torch.channels_last)
    return LoadedModel(network=network, card=card, digest=digest(network.state_dict()))


def encoder_of(path: Path) -> DenseEncoder:
    """The encoder of a file, in eval mode: a denoiser's, one alone, or a whole CLIP's.

    Width and layers are read off the tensors.

    Raises:
        CTDenoiseError: the file is damaged or holds no encoder of CLIP's shape.
    """
    tensors = encoder_tensors(read_tensors(path)[0])
    if "conv3.weight" not in tensors:
        raise CTDenoiseError(f"{path.name}: holds no encoder of CLIP's shape")
    encoder = DenseEncoder(tensors["conv3.weight"].shape[0], _layers(tensors, ""))
    fill(path, encoder, tensors, what="an encoder of CLIP's shape")
    encoder.eval()
    return encoder


def digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, types, shapes and values, whatever file they came from."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


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


def _build(path: Path, tensors: Tensors, card: ModelCard) -> nn.Module:
    if "noise.0.weight" in tensors:
        return _dncnn(tensors)
    try:
        width = tensors["encoder.conv3.weight"].shape[0]
        out_channels = tensors["decoder.last.weight"].shape[0]
        decoder_widths = [tensors[name].shape[0] for name in _DECODER_BLOCKS]
    except KeyError as error:
        what = str(error).strip("'").split(".")[0]
        raise CTDenoiseError(
            f"{path.name}: not a denoiser of this architecture: it has no {what}"
            + ("; name one with --clip-weights" if what == "encoder" else "")
        ) from None
    layers = _layers(tensors, "encoder.")
    try:
        return CLIPDenoiser(
            in_channels=1 if "first.weight" in tensors else 3,
            out_channels=out_channels,
            width=width,
            layers=layers,
            decoder_widths=decoder_widths,
            residual=card.residual,
        )
    except (ValueError, IndexError) as error:
        raise CTDenoiseError(f"{path.name}: not a denoiser of this architecture: {error}") from None


def _layers(tensors: Tensors, prefix: str) -> list[int]:
    """Blocks of each of the encoder's three stages."""
    patterns = [re.compile(rf"{re.escape(prefix)}layer{stage}\.(\d+)\.") for stage in (1, 2, 3)]
    return [len({m[1] for name in tensors if (m := p.match(name))}) for p in patterns]


def _dncnn(tensors: Tensors) -> DnCNN:
    width, channels = tensors["noise.0.weight"].shape[:2]
    depth = sum(name.endswith(".weight") and tensor.ndim == 4 for name, tensor in tensors.items())
    return DnCNN(channels=channels, width=width, depth=depth)


def fill(path: Path, network: nn.Module, tensors: Tensors, *, what: str) -> None:
    """Load the tensors of a file into ``network``.

    Raises:
        CTDenoiseError: names or shapes differ; the message says that the file is not ``what``.
    """
    expected = network.state_dict()
    # Files from before PyTorch 0.4 have no such counters, and nothing here needs them.
    for name in expected:
        if name.endswith("num_batches_tracked"):
            tensors.setdefault(name, torch.tensor(0))
    differences = [f"{name} is missing" for name in expected if name not in tensors]
    differences += [f"{name} is unknown" for name in tensors if name not in expected]
    differences += [
        f"{name} is {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    if differences:
        more = f", and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise CTDenoiseError(f"{path.name}: not {what}: " + ", ".join(differences[:3]) + more)
    network.load_state_dict(tensors)
