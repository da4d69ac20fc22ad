"""Reading and writing weights, without ever unpickling a file that a user passes."""

from __future__ import annotations

import os
from pathlib import Path

from safetensors.torch import save as to_safetensors
from torch import nn

from ctdenoise.models.card import ModelCard

CARD_KEY = "ctdenoise"


def save_model(path: str | Path, network: nn.Module, card: ModelCard) -> None:
    """Write weights and card to ``path`` (safetensors), whole or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous()
               for name, tensor in network.state_dict().items()}
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(to_safetensors(tensors, metadata={CARD_KEY: card.to_json()}))
    os.replace(partial, path)
