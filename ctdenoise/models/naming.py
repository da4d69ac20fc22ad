"""Names of tensors: the published checkpoints', CLIP's in its several spellings, and ours.

Ours are those of :class:`ctdenoise.networks.CLIPDenoiser`; for the encoder these are the names
of OpenAI's ``visual``.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from ctdenoise.models.tensors import Tensors

_Rule = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]

_UNUSED = re.compile(r"^(encoder\.)?(layer4|attnpool)\.")

_PUBLISHED: list[_Rule] = [
    (re.compile(r"^up_path\.0\.conv_block\.block\."), "decoder.bottom."),
    (
        re.compile(r"^up_path\.([1-4])\.conv_block\.block\."),
        lambda m: f"decoder.blocks.{int(m[1]) - 1}.",
    ),
    (re.compile(r"^last\."), "decoder.last."),
]

_TIMM: list[_Rule] = [
    (re.compile(r"^stem\.conv([1-3])\.conv\."), r"conv\1."),
    (re.compile(r"^stem\.conv([1-3])\.bn\."), r"bn\1."),
    (
        re.compile(r"^stages\.(\d)\.(\d+)\.conv([1-3])_(?:1x1|kxk)\.(conv|bn)\."),
        lambda m: f"layer{int(m[1]) + 1}.{m[2]}.{m[4]}{m[3]}.",
    ),
    (
        re.compile(r"^stages\.(\d)\.(\d+)\.shortcut\.conv\.conv\."),
        lambda m: f"layer{int(m[1]) + 1}.{m[2]}.downsample.0.",
    ),
    (
        re.compile(r"^stages\.(\d)\.(\d+)\.shortcut\.conv\.bn\."),
        lambda m: f"layer{int(m[1]) + 1}.{m[2]}.downsample.1.",
    ),
]


def denoiser_tensors(tensors: Tensors) -> Tensors:
    """The tensors of a denoiser under our names; unused stages of the encoder are dropped."""
    renamed = {_rename(name, _PUBLISHED): tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in renamed.items() if not _UNUSED.match(name)}


def encoder_tensors(tensors: Tensors) -> Tensors:
    """The tensors of CLIP's image encoder under OpenAI's names, without prefix.

    Known are OpenAI's and open_clip's whole CLIP (``visual.``), an encoder alone, a denoiser
    that carries one (``encoder.``), and timm's names. Empty where there is no encoder.
    """
    if "stem.conv1.conv.weight" in tensors:
        tensors = {_rename(name, _TIMM): tensor for name, tensor in tensors.items()}
    for prefix in ("visual.", "encoder.", ""):
        if prefix + "conv1.weight" in tensors:
            found = {
                name.removeprefix(prefix): tensor
                for name, tensor in tensors.items()
                if name.startswith(prefix)
            }
            return {
                name: tensor.astype(np.float32) if tensor.dtype.kind == "f" else tensor
                for name, tensor in found.items()
                if re.match(r"(conv|bn)[1-3]\.|layer[1-3]\.", name)
            }
    return {}


def _rename(name: str, rules: list[_Rule]) -> str:
    for pattern, replacement in rules:
        name, count = pattern.subn(replacement, name)
        if count:
            break
    return name
