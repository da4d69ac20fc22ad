"""A network on a CUDA GPU: batches that fit, pinned memory, CUDA graphs.

Source: PyTorch's "CUDA semantics", sections on CUDA graphs and on pinned memory buffers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ctdenoise.errors import CTDenoiseError

Run = Callable[[torch.Tensor], torch.Tensor]

_WARM_UP = 3
"""Runs before a capture, in which cuDNN chooses its algorithms."""


_LARGEST_BATCH = 16
_VALUES_PER_IMAGE = 300e6
"""Values that the paper's network holds at once for a slice of 512 x 512, generously."""


def batch_that_fits(device: torch.device, bytes_per_value: int) -> int:
    """Slices of 512 x 512 that should fit into half of what is free on a GPU."""
    free, _ = torch.cuda.mem_get_info(device)
    fit = int(0.5 * free / (_VALUES_PER_IMAGE * bytes_per_value))
    return max(1, min(_LARGEST_BATCH, fit))


@dataclass(frozen=True)
class _Graph:
    """A captured run, and the memory that it reads and writes; it takes smaller batches too."""

    graph: torch.cuda.CUDAGraph
    seen: torch.Tensor
    output: torch.Tensor


class CUDARunner:
    """Batches of images through ``run`` on a GPU.

    A batch that does not fit the memory is halved, until it does. Results come back in pinned
    memory, while the next batch is under way. Without CUDA graphs, as under a debugger, it runs
    the same network as it is.

    Args:
        run: the network, of a batch on the GPU.
        device: the GPU.
        exact: forbid TF32, which would make fp32 a format of ten bits.
    """

    def __init__(self, run: Run, device: torch.device, *, exact: bool) -> None:
        torch.backends.cudnn.allow_tf32 = not exact
        torch.backends.cuda.matmul.allow_tf32 = not exact
        torch.backends.cudnn.benchmark = True
        self._run = run
        self._device = device
        self._most: int | None = None
        self._graphs: dict[tuple[int, ...], _Graph] = {}

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Results (N, 1, H, W) on the CPU of ``batch`` (N, C, H, W) on the CPU."""
        # A graph is captured on the current device, whatever device its tensors are on.
        with torch.cuda.device(self._device):
            return self._in_parts(batch)

    def _in_parts(self, batch: torch.Tensor) -> torch.Tensor:
        pinned = batch.pin_memory()
        shape = (len(batch), 1, *batch.shape[2:])
        results = torch.empty(shape, dtype=torch.float32, pin_memory=True)
        start = 0
        while start < len(batch):
            stop = min(len(batch), start + (self._most or len(batch)))
            try:
                found = self._replay(pinned[start:stop].to(self._device, non_blocking=True))
                results[start:stop].copy_(found, non_blocking=True)
            except torch.cuda.OutOfMemoryError:
                self._smaller(stop - start, batch.shape)
                continue
            start = stop
        torch.cuda.synchronize(self._device)
        return results

    def _smaller(self, size: int, shape: torch.Size) -> None:
        if size == 1:
            raise CTDenoiseError(
                f"{self._device}: too little memory for one image of {shape[3]}x{shape[2]}; use "
                "--device cpu"
            )
        self._graphs.clear()
        torch.cuda.empty_cache()
        self._most = size // 2

    def _replay(self, seen: torch.Tensor) -> torch.Tensor:
        key = tuple(seen.shape[1:])
        captured = self._graphs.get(key)
        if captured is None or len(captured.seen) < len(seen):
            captured = self._graphs[key] = self._capture(seen)
        captured.seen[: len(seen)].copy_(seen)
        captured.graph.replay()
        return captured.output[: len(seen)]

    def _capture(self, seen: torch.Tensor) -> _Graph:
        side = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(side):
            for _ in range(_WARM_UP):
                self._run(seen)
        torch.cuda.current_stream(self._device).wait_stream(side)
        kept = seen.clone()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = self._run(kept)
        return _Graph(graph, kept, output)
