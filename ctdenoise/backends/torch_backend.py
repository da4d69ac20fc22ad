"""PyTorch, on CPU or GPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ctdenoise.backends.base import SAVINGS, Device, Images, Precision
from ctdenoise.errors import CTDenoiseError
from ctdenoise.models.files import LoadedModel
from ctdenoise.slices import with_margins

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class TorchBackend:
    """A folded network in inference mode.

    In bf16 and fp16 the convolutions are in that format, and the image goes in as two parts that
    together have more bits. A GPU gets batches that fit its memory, from pinned memory, and
    replays a CUDA graph for each size of batch.

    Args:
        model: the loaded model.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: number format of the convolutions.
        threads: of the CPU; None leaves PyTorch's own number.

    Raises:
        CTDenoiseError: the device is not there, or cannot do the precision.
    """

    name = "torch"

    def __init__(
        self, model: LoadedModel, *, device: str, precision: Precision, threads: int | None = None
    ) -> None:
        self._on = choose_device(device)
        self.device = Device("cuda" if self._on.type == "cuda" else "cpu", self._on.index)
        if precision == "fp16" and self.device.type == "cpu":
            raise CTDenoiseError("--precision fp16 needs a GPU; on a CPU use bf16 or fp32")
        if threads is not None:
            torch.set_num_threads(threads)
        self._dtype = _DTYPES.get(precision)
        savings = SAVINGS[precision] if self.device.type == "cpu" else 0
        network = model.folded(parts=2 if self._dtype else 1, savings=savings)
        self._network = network.to(self._on, dtype=self._dtype)
        self._run: Callable[[torch.Tensor], torch.Tensor] = self._infer
        self.batch_size = 1
        if self.device.type == "cuda":
            from ctdenoise.backends.cuda import CUDARunner, batch_that_fits

            self.batch_size = batch_that_fits(self._on, 4 if self._dtype is None else 2)
            self._run = CUDARunner(self._infer, self._on, exact=self._dtype is None)

    def __call__(self, images: Images) -> Images:
        height, width = images.shape[1:]
        seen = with_margins(images)[:, None]
        with torch.inference_mode():
            output = self._run(torch.from_numpy(seen))
        return np.ascontiguousarray(output[:, 0, :height, :width].numpy(), dtype=np.float32)

    def _infer(self, batch: torch.Tensor) -> torch.Tensor:
        parts = batch if self._dtype is None else _halves(batch)
        seen = parts.to(dtype=self._dtype, memory_format=torch.channels_last)
        output: torch.Tensor = self._network(seen)
        return output.float()


def _halves(images: torch.Tensor) -> torch.Tensor:
    """As :func:`ctdenoise.slices.halves`, of images (N, 1, H, W) where they are."""
    rounded = ((images.view(torch.int32) + 0x8000) & -0x10000).view(torch.float32)
    return torch.cat([rounded, images - rounded], dim=1)


def choose_device(name: str) -> torch.device:
    """The torch device of a name; ``auto`` is the first GPU, or the CPU.

    Raises:
        CTDenoiseError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise CTDenoiseError(f"--device {name}: use auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise CTDenoiseError(f"--device {name}: use auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise CTDenoiseError(f"--device {name}: no CUDA GPU here")
        if (device.index or 0) >= torch.cuda.device_count():
            raise CTDenoiseError(f"--device {name}: there are {torch.cuda.device_count()} GPUs")
    return device
