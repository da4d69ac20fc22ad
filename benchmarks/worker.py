"""A process that computes one thing again and again, and says how long it took.

    python -m benchmarks.worker published CHECKPOINT --image IMAGES.npy --threads 2
    python -m benchmarks.worker plain MODEL --image IMAGES.npy --threads 2
    python -m benchmarks.worker ours MODEL --image IMAGES.npy --threads 2 --backend torch
    python -m benchmarks.worker convolutions --threads 2 --backend openvino --precision bf16

``published`` and ``plain`` compute a network as it is written down: the published code, or a model
of ours as it was trained; contiguous memory, fp32, and the C library's own malloc. ``ours`` is what
the command line computes, and keeps freed memory as the command line does. ``convolutions`` are
nothing but 3x3 convolutions.

It answers each line of its input with a line of JSON: ``run`` with the seconds of each thing (a
batch, or a convolution), ``flop`` with the operations of each, ``save FILE`` with nothing, when the
result is in the file. It says ``ready`` first, and ends with its input.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ctdenoise.allocator import keep_freed_memory

CONVOLUTIONS = ((64, 256), (128, 128), (256, 64))
"""Channels in and out, and side of the image."""

_CHAIN = 5
"""Convolutions in a row, so that bringing the image into another layout hardly counts."""

_REPEATS = 2

Images = NDArray[np.float32]


@dataclass(frozen=True)
class Job:
    """What a worker does.

    Attributes:
        run: does it; gives the seconds of each thing.
        flop: floating point operations of each thing.
        result: what the network makes of the images.
    """

    run: Callable[[], list[float]]
    flop: Callable[[], list[int]]
    result: Callable[[], Images]


def serve(job: Job, lines: TextIO, answers: TextIO) -> None:
    """Answer each line until there is no more."""
    print(json.dumps("ready"), file=answers, flush=True)
    for line in lines:
        command, _, argument = line.strip().partition(" ")
        answer: object = None
        if command == "run":
            answer = job.run()
        elif command == "flop":
            answer = job.flop()
        elif command == "save":
            np.save(argument, job.result())
        else:
            raise ValueError(f"{command}: unknown")
        print(json.dumps(answer), file=answers, flush=True)


def written_down(network: nn.Module, images: Images) -> Job:
    """A network as it is, on one batch."""
    batch = torch.from_numpy(images[:, None])

    def result() -> Images:
        with torch.no_grad():
            return np.asarray(network(batch)[:, 0].numpy())

    return Job(lambda: [_seconds(result)], lambda: [flop(network, batch)], result)


def ours(model: Any, images: Images, *, backend: str, precision: Any, threads: int) -> Job:
    """A model on a backend, on one batch."""
    from ctdenoise.backends import open_backend
    from ctdenoise.backends.base import SAVINGS

    compute = open_backend(
        model, backend=backend, device="cpu", precision=precision, threads=threads
    )

    def operations() -> list[int]:
        parts = 1 if precision == "fp32" else 2
        batch = torch.from_numpy(images[:, None]).expand(-1, parts, -1, -1)
        return [flop(model.folded(parts=parts, savings=SAVINGS[precision]), batch)]

    return Job(
        lambda: [_seconds(lambda: compute(images))], operations, lambda: np.array(compute(images))
    )


def flop(network: nn.Module, batch: torch.Tensor) -> int:
    """Floating point operations of the convolutions, by their shapes; nothing is computed."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        deepcopy(network).to("meta")(batch.to("meta"))
    return int(counter.get_total_flops())


def convolutions(*, backend: str, precision: str, threads: int) -> Job:
    """The convolutions of :data:`CONVOLUTIONS`; the seconds are those of one."""
    made = [
        _openvino_chain(c, side, precision, threads)
        if backend == "openvino"
        else _torch_chain(c, side, precision)
        for c, side in CONVOLUTIONS
    ]

    def run() -> list[float]:
        return [
            _seconds(lambda compute=compute: [compute() for _ in range(_REPEATS)])  # type: ignore[misc]
            / (_REPEATS * _CHAIN)
            for compute in made
        ]

    def result() -> Images:
        raise ValueError("convolutions have no result to keep")

    return Job(run, lambda: [2 * 9 * c * c * side * side for c, side in CONVOLUTIONS], result)


def _torch_chain(channels: int, side: int, precision: str) -> Callable[[], object]:
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    convs = [nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(_CHAIN)]
    network = nn.Sequential(*convs).to(dtype=dtype).to(memory_format=torch.channels_last)
    with torch.no_grad():
        for conv in convs:
            conv.weight.copy_(torch.from_numpy(_weight(channels)))
    image = torch.randn(1, channels, side, side).to(dtype, memory_format=torch.channels_last)

    def compute() -> object:
        with torch.inference_mode():
            return network(image)

    return compute


def _openvino_chain(channels: int, side: int, precision: str, threads: int) -> Callable[[], object]:
    import openvino
    from openvino import opset13

    image = opset13.parameter([1, channels, side, side], np.float32)
    x = image
    for _ in range(_CHAIN):
        weight = opset13.constant(_weight(channels))
        x = opset13.convolution(x, weight, [1, 1], [1, 1], [1, 1], [1, 1])
    settings = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[precision],
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }
    model = openvino.Model([x], [image])
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    rng = np.random.default_rng(0)
    values = rng.standard_normal((1, channels, side, side)).astype(np.float32)
    return lambda: request.infer([values])


def _weight(channels: int) -> NDArray[np.float32]:
    """Random weights through which numbers keep their size."""
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((channels, channels, 3, 3)) / (9 * channels) ** 0.5
    return np.asarray(weight, dtype=np.float32)


def _seconds(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["published", "plain", "ours", "convolutions"])
    parser.add_argument("model", nargs="?", default="", help="a name or a file")
    parser.add_argument("--image", type=Path, help="slices (N, H, W), of which the first are taken")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--backend", default="auto")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    # What libraries print is no answer.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(options.threads)
    serve(_job(options), sys.stdin, answers)


def _job(options: argparse.Namespace) -> Job:
    how = {name: getattr(options, name) for name in ("backend", "precision", "threads")}
    if options.kind == "convolutions":
        keep_freed_memory()
        return convolutions(**how)
    images = np.load(options.image)[: options.batch]
    if options.kind == "published":
        from benchmarks.published import load_checkpoint

        return written_down(load_checkpoint(Path(options.model)), images)
    from ctdenoise.models.registry import load

    if options.kind == "plain":
        return written_down(load(options.model).network, images)
    keep_freed_memory()
    return ours(load(options.model), images, **how)


if __name__ == "__main__":
    main()
