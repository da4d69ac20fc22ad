"""Handlers and an inferer for MONAI's trainer that MONAI does not have."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler
from monai.engines.utils import IterationEvents
from monai.inferers import Inferer
from torch import nn

from ctdenoise.models.card import ModelCard
from ctdenoise.models.files import save_model
from ctdenoise.networks import CLIPDenoiser


class AutocastInferer(Inferer):
    """Forward in bfloat16 where that is safe; results in float32.

    MONAI's ``amp`` option knows CUDA only; this one serves the CPU as well.
    """

    def __init__(self, device_type: str = "cpu") -> None:
        super().__init__()
        self.device_type = device_type

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> torch.Tensor | list[torch.Tensor]:
        with torch.autocast(self.device_type, dtype=torch.bfloat16):
            output = network(inputs, *args, **kwargs)
        if isinstance(output, torch.Tensor):
            return output.float()
        return [tensor.float() for tensor in output]


class GradientClipping:
    """Clip the norm of the gradient after each backward pass."""

    def __init__(self, max_norm: float) -> None:
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Any) -> None:
        nn.utils.clip_grad_norm_(engine.network.parameters(), self.max_norm)


class ExponentialMovingAverage:
    """Keep a running mean of a denoiser's decoder, which denoises better than the last step does.

    The rest of :attr:`network` is a plain copy: averaging a frozen encoder with itself would
    still change its last bits.
    """

    def __init__(self, network: CLIPDenoiser, *, momentum: float) -> None:
        self._handler = EMAHandler(network.decoder, momentum=momentum)
        self.network = copy.deepcopy(network)
        self.network.decoder = self._handler.ema_model

    def attach(self, engine: Engine) -> None:
        self._handler.attach(engine)


class ModelSaver:
    """Write the model, with its card, when training ends and after every epoch."""

    def __init__(self, path: str | Path, network: nn.Module, card: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self.network = network
        self.card = ModelCard(**card)

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        save_model(self.path, self.network, self.card)
