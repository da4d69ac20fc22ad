"""Where the frozen encoder of a new network comes from."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from ctdenoise.errors import CTDenoiseError
from ctdenoise.models.files import digest
from ctdenoise.models.naming import encoder_tensors
from ctdenoise.models.registry import CLIP_RN50, clip_file
from ctdenoise.models.tensors import read_tensors
from ctdenoise.networks import CLIPDenoiser, DenseEncoder, freeze


def denoiser_with(
    encoder: str, *, clip_weights: str = "openai", fixed_input: bool = False, **network: object
) -> CLIPDenoiser:
    """A new denoiser with the encoder of a name.

    Args:
        encoder: ``clip-rn50``, ``random``, or a file that holds an encoder of the network's
            width and layers (one of ours, or any form of CLIP's).
        clip_weights: for ``clip-rn50``: a file, or a name that open_clip downloads.
        fixed_input: keep the 1x1 convolution that makes three channels of one as it is.
        network: of :class:`~ctdenoise.networks.CLIPDenoiser`.

    Raises:
        CTDenoiseError: the file is missing, or its tensors do not fit.
    """
    denoiser = CLIPDenoiser(**network)  # type: ignore[arg-type]
    if encoder == CLIP_RN50:
        load_encoder(denoiser.encoder, clip_file(clip_weights))
    elif encoder != "random":
        load_encoder(denoiser.encoder, Path(encoder))
    if fixed_input:
        freeze(denoiser.first)
    return denoiser


def load_encoder(encoder: DenseEncoder, path: Path) -> None:
    """Fill ``encoder`` from a file.

    Raises:
        CTDenoiseError: the file is missing, holds no encoder, or one of another shape.
    """
    if not path.is_file():
        raise CTDenoiseError(f"{path}: no such encoder; use clip-rn50, random, or a file")
    found = read_tensors(path)[0]
    expected = encoder.state_dict()
    bare = {name.removeprefix("encoder."): tensor for name, tensor in found.items()}
    tensors = bare if expected.keys() <= bare.keys() else encoder_tensors(found)
    for name, tensor in expected.items():
        if name.endswith("num_batches_tracked"):
            tensors.setdefault(name, tensor)
        if name not in tensors:
            raise CTDenoiseError(f"{path.name}: not an encoder for this network: no {name}")
        if tensors[name].shape != tensor.shape:
            raise CTDenoiseError(
                f"{path.name}: not an encoder for this network: {name} is "
                f"{tuple(tensors[name].shape)}, not {tuple(tensor.shape)}"
            )
    encoder.load_state_dict({name: tensors[name] for name in expected})


def weights_digest(module: nn.Module) -> str:
    """SHA-256 of a module's tensors."""
    return digest(module.state_dict())
