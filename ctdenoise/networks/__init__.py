"""Networks: the frozen dense encoder, the denoiser around it, and DnCNN to compare with.

open_clip, which the encoder is made of, takes seconds to import: it is imported with the first use
of a network that trains, and not at all for inference (:mod:`ctdenoise.networks.folded`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ctdenoise.networks.denoiser import CLIPDenoiser
    from ctdenoise.networks.dncnn import DnCNN
    from ctdenoise.networks.encoder import DenseEncoder, freeze

__all__ = ["CLIPDenoiser", "DenseEncoder", "DnCNN", "freeze"]

_WHERE = {
    "CLIPDenoiser": "denoiser",
    "DenseEncoder": "encoder",
    "DnCNN": "dncnn",
    "freeze": "encoder",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
