"""Which backend computes a model."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from ctdenoise.backends.base import Backend, Precision
from ctdenoise.errors import CTDenoiseError
from ctdenoise.models.files import LoadedModel

BACKENDS = ("auto", "torch", "openvino")


def open_backend(
    model: LoadedModel,
    *,
    backend: str = "auto",
    device: str = "auto",
    precision: Precision = "fp32",
    threads: int | None = None,
) -> Backend:
    """A backend for a model.

    Args:
        model: the loaded model.
        backend: ``torch``, ``openvino``, or ``auto``: PyTorch on a GPU; on a CPU OpenVINO where it
            is installed, which is faster there.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; ``auto`` takes a GPU if there is one.
        precision: number format of the convolutions.
        threads: of the CPU; None leaves it to the backend.

    Raises:
        CTDenoiseError: the backend is not installed, or the device is not there or cannot do the
            precision.
    """
    if backend == "openvino" and device.startswith("cuda"):
        raise CTDenoiseError("--backend openvino computes on the CPU; use --backend torch for CUDA")
    on_cpu = device == "cpu" or (
        device == "auto" and (backend == "openvino" or not _may_have_gpu())
    )
    if on_cpu and precision == "fp16":
        raise CTDenoiseError("--precision fp16 needs a GPU; on a CPU use bf16 or fp32")
    installed = find_spec("openvino") is not None
    if backend == "openvino" and not installed:
        raise CTDenoiseError("OpenVINO is not installed: pip install 'ctdenoise[openvino]'")
    if on_cpu and installed and backend != "torch":
        from ctdenoise.backends.openvino_backend import OpenVINOBackend

        return OpenVINOBackend(model, precision=precision, threads=threads)
    from ctdenoise.backends.torch_backend import TorchBackend

    return TorchBackend(model, device=device, precision=precision, threads=threads)


def _may_have_gpu() -> bool:
    """Whether it is worth importing PyTorch, which takes seconds, to ask it for a GPU."""
    if sys.platform == "linux":
        return any(Path("/dev", name).exists() for name in ("nvidiactl", "kfd", "dxg"))
    return sys.platform == "win32"
