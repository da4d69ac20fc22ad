"""MONAI's supervised trainer, set up so that a killed training goes on as if nothing had been."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from ignite.handlers import Checkpoint, DiskSaver, EarlyStopping
from monai.engines import SupervisedEvaluator, SupervisedTrainer, default_prepare_batch
from monai.engines.utils import IterationEvents
from monai.handlers import (
    CheckpointLoader,
    IgniteMetricHandler,
    LrScheduleHandler,
    PeakSignalToNoiseRatio,
    StatsHandler,
    TensorBoardImageHandler,
    TensorBoardStatsHandler,
    ValidationHandler,
    from_engine,
)
from monai.metrics import SSIMMetric
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

import ctdenoise
from ctdenoise.backends.torch_backend import choose_device
from ctdenoise.errors import CTDenoiseError
from ctdenoise.models.card import ModelCard
from ctdenoise.models.files import digest
from ctdenoise.networks import CLIPDenoiser
from ctdenoise.training.handlers import (
    AutocastInferer,
    ExponentialMovingAverage,
    ModelSaver,
    TimeLeft,
    clip_gradient,
    continue_row,
    reseed,
)
from ctdenoise.training.patches import BatchRow, NoisyPatches, ValidationImages

_PAIR = from_engine(["pred", "label"])


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a training runs.

    Attributes:
        output_dir: gets ``checkpoint_*.pt``, ``NAME.safetensors`` and TensorBoard's files.
        iterations: steps of the optimiser.
        epoch_length: steps between validations and checkpoints.
        batch_size: patches a step, of all processes together.
        seed: of everything random.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        workers: processes that prepare patches; 0 prepares them in this one.
        max_norm: of the gradient.
        momentum: of the running mean of the weights, which is what is kept; 0 keeps the last.
        patience: epochs without a better PSNR after which training stops; 0 never stops.
        bfloat16: autocast the forward pass.

    Raises:
        CTDenoiseError: the iterations do not make whole epochs.
    """

    output_dir: str
    iterations: int
    epoch_length: int
    batch_size: int
    seed: int
    device: str = "cpu"
    workers: int = 0
    max_norm: float = 1.0
    momentum: float = 0.0
    patience: int = 0
    bfloat16: bool = True

    def __post_init__(self) -> None:
        if self.iterations % self.epoch_length:
            raise CTDenoiseError(
                f"iterations={self.iterations} is not a multiple of epoch_length="
                f"{self.epoch_length}; set both"
            )


def supervised_trainer(
    *,
    plan: Plan,
    network: nn.Module,
    patches: NoisyPatches,
    optimizer: Optimizer,
    lr_scheduler: LRScheduler,
    loss: nn.Module,
    card: Mapping[str, Any],
    validation: ValidationImages | None = None,
    prepare_batch: Callable[..., Any] = default_prepare_batch,
) -> SupervisedTrainer:
    """A trainer that resumes from its output folder, alone or in a process group.

    Where ``torch.distributed`` is initialised, each process takes its share of every batch;
    all validate on
    all images; the first one writes.

    Args:
        plan: how it runs.
        network: what learns; of a denoiser, what requires a gradient.
        patches: what is learned from.
        optimizer: with a learning rate that ``lr_scheduler`` changes each step.
        lr_scheduler: stepped each iteration.
        loss: of prediction and label.
        card: fields of the :class:`~ctdenoise.models.card.ModelCard`; digests of data and
            encoder, the commit and the figures of the validation are added.
        validation: images for PSNR and SSIM after each epoch.
        prepare_batch: as MONAI's trainer takes it.

    Raises:
        CTDenoiseError: the device is not there, or the batch cannot be shared by the processes.
    """
    rank, processes = _process()
    row = BatchRow(plan.iterations, plan.batch_size, rank=rank, processes=processes)
    loader = DataLoader(patches, batch_sampler=row, num_workers=plan.workers)
    device = choose_device(plan.device)
    network.to(device)
    average = ExponentialMovingAverage(network, momentum=plan.momentum) if plan.momentum else None
    kept = average.network if average else network
    trainer = SupervisedTrainer(
        device=device,
        max_epochs=-(-plan.iterations // plan.epoch_length),
        epoch_length=plan.epoch_length,
        train_data_loader=loader,
        network=_distributed(network, device) if processes > 1 else network,
        optimizer=optimizer,
        loss_function=loss,
        prepare_batch=prepare_batch,
        inferer=AutocastInferer(device.type) if plan.bfloat16 else None,
        decollate=False,
    )
    state = {
        "network": network,
        "kept": kept,
        "optimizer": optimizer,
        "lr_scheduler": lr_scheduler,
        "trainer": trainer,
    }
    evaluator = _evaluator(plan, device, kept, validation) if validation is not None else None
    stop = _early_stop(plan, trainer) if evaluator is not None and plan.patience else None
    if stop is not None:
        state["early_stop"] = stop
    output = Path(plan.output_dir)
    latest = latest_checkpoint(output)
    if latest is not None:
        CheckpointLoader(str(latest), state, map_location=device).attach(trainer)
    trainer.add_event_handler(Events.STARTED, continue_row, row)
    trainer.add_event_handler(Events.ITERATION_STARTED, reseed, plan.seed, rank)
    trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, clip_gradient, plan.max_norm)
    LrScheduleHandler(lr_scheduler, epoch_level=False, print_lr=False).attach(trainer)
    if average is not None:
        average.attach(trainer)
    if evaluator is not None:
        # On every process: MONAI's metrics gather from all, and all must stop together.
        ValidationHandler(interval=1, validator=evaluator).attach(trainer)
        if stop is not None:
            evaluator.add_event_handler(Events.EPOCH_COMPLETED, stop)
    if rank == 0:
        _attach_writers(plan, trainer, evaluator, lr_scheduler)
        facts = _facts(plan, network, patches) | dict(card.get("training") or {})
        ModelSaver(
            output / f"{card['name']}.safetensors",
            kept,
            ModelCard(**dict(card) | {"training": facts}),
            lambda: evaluator.state.metrics if evaluator is not None else {},
        ).attach(trainer)
    # Attached last, and on every process: it synchronises them, and the first one saves.
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED,
        Checkpoint(
            state,
            # MONAI's own saver does not write atomically: a kill would leave half a file.
            DiskSaver(str(output), create_dir=True, require_empty=False, atomic=True),
            # Ignite removes the oldest before it writes: alone, it would leave a moment without.
            n_saved=2,
            global_step_transform=lambda *_: trainer.state.iteration,
        ),
    )
    return trainer


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint in ``folder`` that got furthest, if there is one."""
    found = {int(path.stem.split("_")[-1]): path for path in folder.glob("checkpoint_*.pt")}
    return found[max(found)] if found else None


def _process() -> tuple[int, int]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def _distributed(network: nn.Module, device: torch.device) -> nn.Module:
    devices = [device] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(network, device_ids=devices)


def _evaluator(
    plan: Plan, device: torch.device, network: nn.Module, images: ValidationImages
) -> SupervisedEvaluator:
    return SupervisedEvaluator(
        device=device,
        val_data_loader=DataLoader(images, batch_size=1),
        network=network,
        inferer=AutocastInferer(device.type) if plan.bfloat16 else None,
        key_val_metric={"psnr": PeakSignalToNoiseRatio(max_val=1.0, output_transform=_PAIR)},
        additional_metrics={
            "ssim": IgniteMetricHandler(
                metric_fn=SSIMMetric(spatial_dims=2, data_range=1.0), output_transform=_PAIR
            )
        },
    )


def _early_stop(plan: Plan, trainer: SupervisedTrainer) -> EarlyStopping:
    # Not in MONAI's wrapping, which hides the state that a checkpoint needs.
    return EarlyStopping(
        patience=plan.patience,
        score_function=lambda engine: engine.state.metrics["psnr"],
        trainer=trainer,
    )


def _attach_writers(
    plan: Plan,
    trainer: SupervisedTrainer,
    evaluator: SupervisedEvaluator | None,
    lr_scheduler: LRScheduler,
) -> None:
    def loss(output: Any) -> float:
        return float(output["loss"])

    StatsHandler(
        name="train",
        tag_name="loss",
        iteration_log=lambda _, iteration: iteration % 50 == 0,
        output_transform=loss,
    ).attach(trainer)
    TimeLeft(plan.iterations).attach(trainer)
    TensorBoardStatsHandler(log_dir=plan.output_dir, tag_name="loss", output_transform=loss).attach(
        trainer
    )
    TensorBoardStatsHandler(
        log_dir=plan.output_dir,
        tag_name="learning_rate",
        epoch_log=False,
        output_transform=lambda _: lr_scheduler.get_last_lr()[0],
    ).attach(trainer)
    if evaluator is None:
        return

    def epoch(*_: object) -> int:
        return int(trainer.state.epoch)

    StatsHandler(
        name="validation", output_transform=lambda _: None, global_epoch_transform=epoch
    ).attach(evaluator)
    TensorBoardStatsHandler(
        log_dir=plan.output_dir, output_transform=lambda _: None, global_epoch_transform=epoch
    ).attach(evaluator)
    TensorBoardImageHandler(
        log_dir=plan.output_dir,
        batch_transform=from_engine(["image", "label"]),
        output_transform=from_engine(["pred"]),
        global_iter_transform=epoch,
    ).attach(evaluator)


def _facts(plan: Plan, network: nn.Module, patches: NoisyPatches) -> dict[str, Any]:
    facts = {
        "seed": plan.seed,
        "iterations": plan.iterations,
        "batch_size": plan.batch_size,
        "patch_size": patches.patch_size,
        "images": len(patches.images),
        "data_sha256": patches.images.digest(),
        "version": ctdenoise.__version__,
        "commit": _commit(),
    }
    if isinstance(network, CLIPDenoiser) and network.frozen:
        facts["encoder_sha256"] = digest(network.encoder.state_dict())
    return facts


def _commit() -> str:
    """The commit that this code is at, or ``unknown`` outside a checkout."""
    here = Path(ctdenoise.__file__).parent
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=here,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
