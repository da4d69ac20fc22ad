"""Where the weights of a new network come from."""

from __future__ import annotations

from pathlib import Path

from ctdenoise.errors import CTDenoiseError
from ctdenoise.models.files import fill
from ctdenoise.models.naming import denoiser_tensors, encoder_tensors
from ctdenoise.models.registry import CLIP_RN50, clip_file
from ctdenoise.models.tensors import read_tensors
from ctdenoise.networks import CLIPDenoiser, DenseEncoder, freeze


def denoiser_with(
    encoder: str,
    *,
    clip_weights: str = "openai",
    start: str = "",
    fixed_input: bool = False,
    **network: object,
) -> CLIPDenoiser:
    """A new denoiser with the encoder of a name, or one that goes on from another.

    Args:
        encoder: ``clip-rn50``, ``random``, or a file that holds an encoder of the network's
            width and layers (one of ours, or any form of CLIP's).
        clip_weights: for ``clip-rn50``: a file, or a name that open_clip downloads.
        start: a denoiser's file whose weights, the encoder's included, are learned on from.
        fixed_input: keep the 1x1 convolution that makes three channels of one as it is.
        network: of :class:`~ctdenoise.networks.CLIPDenoiser`.

    Raises:
        CTDenoiseError: the file is missing, or its tensors do not fit.
    """
    denoiser = CLIPDenoiser(**network)  # type: ignore[arg-type]
    if start:
        path = Path(start)
        if not path.is_file():
            raise CTDenoiseError(f"{path}: no such denoiser to go on from")
        tensors = denoiser_tensors(read_tensors(path)[0])
        fill(path, denoiser, tensors, what="a denoiser of this network's shape")
    elif encoder == CLIP_RN50:
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
    tensors = encoder_tensors(read_tensors(path)[0])
    if not tensors:
        raise CTDenoiseError(f"{path.name}: holds no encoder")
    fill(path, encoder, tensors, what="an encoder for this network")
