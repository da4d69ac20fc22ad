"""Handlers and an inferer for MONAI's trainer that MONAI does not have."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler
from monai.inferers import Inferer
from torch import nn

from ctdenoise.models.card import ModelCard
from ctdenoise.models.files import save_model
from ctdenoise.training.patches import BatchRow


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


def clip_gradient(engine: Any, max_norm: float) -> None:
    """Clip the norm of the network's gradient."""
    nn.utils.clip_grad_norm_(engine.network.parameters(), max_norm)


def reseed(engine: Engine, seed: int, rank: int) -> None:
    """Make the random numbers of an iteration depend on its number alone.

    The feature augmentation draws them. A resumed training so needs no state of a generator.
    """
    # A prime apart, so that no two processes ever share a seed.
    torch.manual_seed(seed + 1_000_003 * (rank + 1) + engine.state.iteration)


def continue_row(engine: Engine, row: BatchRow) -> None:
    """Let the row of batches begin where a resumed training does."""
    row.start = engine.state.iteration


class ExponentialMovingAverage:
    """Keep a running mean of the parts that learn, which denoises better than the last step does.

    The rest of :attr:`network` is a plain copy: averaging a frozen encoder with itself would
    still change its last bits.
    """

    def __init__(self, network: nn.Module, *, momentum: float) -> None:
        self.network = copy.deepcopy(network)
        self._handlers = []
        for name, part in network.named_children():
            if any(p.requires_grad for p in part.parameters()):
                handler = EMAHandler(part, momentum=momentum)
                setattr(self.network, name, handler.ema_model)
                self._handlers.append((name, handler))
        self._source = network

    def attach(self, engine: Engine) -> None:
        for name, handler in self._handlers:
            handler.attach(engine, name=f"momentum_{name}")
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._copy_statistics)

    def _copy_statistics(self) -> None:
        """BatchNorm's own running means are means already."""
        source = dict(self._source.named_buffers())
        for name, buffer in self.network.named_buffers():
            buffer.copy_(source[name])


class TimeLeft:
    """Say at the end of each epoch how long the rest will take."""

    def __init__(self, iterations: int) -> None:
        self.iterations = iterations
        self._log = logging.getLogger("ctdenoise.training")

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def _start(self, engine: Engine) -> None:
        self._begun, self._from = time.monotonic(), engine.state.iteration

    def __call__(self, engine: Engine) -> None:
        done = engine.state.iteration
        pace = (time.monotonic() - self._begun) / (done - self._from)
        left = pace * (self.iterations - done)
        self._log.info(f"{done} of {self.iterations} iterations, {left / 60:.0f} minutes left")


class ModelSaver:
    """Write the model, with its card, after every epoch.

    Args:
        path: of the safetensors file.
        network: what is written.
        card: of the model; its ``training`` gets the figures of the validation so far.
        metrics: gives them.
    """

    def __init__(
        self,
        path: str | Path,
        network: nn.Module,
        card: ModelCard,
        metrics: Callable[[], Mapping[str, float]],
    ) -> None:
        self.path = Path(path)
        self.network = network
        self.card = card
        self.metrics = metrics

    def attach(self, engine: Engine) -> None:
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        facts = dict(self.card.training or {})
        facts["iterations_done"] = engine.state.iteration
        metrics = self.metrics()
        if metrics:
            facts["validation"] = {name: round(float(value), 4) for name, value in metrics.items()}
        save_model(self.path, self.network, replace(self.card, training=facts))
