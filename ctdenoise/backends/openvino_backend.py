"""OpenVINO, on CPUs."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from contextlib import suppress
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import openvino
from platformdirs import user_cache_path

from ctdenoise.backends.base import SAVINGS, Device, Images, Precision
from ctdenoise.models.files import LoadedModel
from ctdenoise.slices import halves, with_margins

_HINTS = {"fp32": "f32", "bf16": "bf16"}
_SHAPES_KEPT = 4
_DIGEST = "SHA256"
_BLOCK = 2**20


class OpenVINOBackend:
    """A folded network, compiled for each size of image.

    The converted graph is kept in the user's cache, by the digest of the weights and the version
    of OpenVINO: the next start needs neither PyTorch nor the conversion.

    Args:
        model: the loaded model.
        precision: ``fp32`` or ``bf16``; OpenVINO's own choice may be bf16, so that it is told.
        threads: of the CPU; None takes all.
    """

    name = "openvino"
    device = Device("cpu")
    batch_size = 1

    def __init__(
        self, model: LoadedModel, *, precision: Precision, threads: int | None = None
    ) -> None:
        self._parts = 1 if precision == "fp32" else 2
        savings = SAVINGS[precision]
        self._core = openvino.Core()
        self._settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "PERFORMANCE_HINT": "LATENCY",
            # Slices are read and written beside it: a thread may go to the core that is free.
            "ENABLE_CPU_PINNING": False,
        }
        if threads is not None:
            self._settings["INFERENCE_NUM_THREADS"] = threads
        self._graph = _graph(self._core, model, self._parts, savings)
        self._busy = Lock()
        self._compiled = lru_cache(_SHAPES_KEPT)(self._compile)

    def __call__(self, images: Images) -> Images:
        height, width = images.shape[1:]
        seen = with_margins(images)
        network = self._compiled(*seen.shape[1:])
        result = np.empty_like(images)
        # One by one: on a CPU a batch is no faster, and wants a graph of its own.
        for i, image in enumerate(seen):
            parts = image[None, None] if self._parts == 1 else halves(image[None])
            with self._busy:
                result[i] = network.infer([parts])[0][0, 0, :height, :width]
        return result

    def _compile(self, height: int, width: int) -> Any:
        graph = self._graph.clone()
        graph.reshape([1, self._parts, height, width])
        return self._core.compile_model(graph, "CPU", self._settings).create_infer_request()


def _graph(core: Any, model: LoadedModel, parts: int, savings: int) -> Any:
    """The graph of a model, from the cache or converted anew."""
    code = hashlib.sha256(b"".join(map(_source, ("folded", "winograd")))).hexdigest()[:8]
    version = openvino.__version__.split("-")[0]
    folder = user_cache_path("ctdenoise") / "openvino"
    kind = f"{parts}{savings}{int(model.card.residual)}"
    kept = folder / f"{model.digest[:24]}-{kind}-{code}-{version}"
    if _is_whole(kept):
        return core.read_model(kept / "graph.xml")
    graph = _convert(model, parts, savings)
    with suppress(OSError):  # a cache that cannot be written only costs time
        _keep(graph, kept)
    return graph


def _source(module: str) -> bytes:
    """What is written in a module of the networks, which need not be imported for it."""
    spec = find_spec(f"ctdenoise.networks.{module}")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_bytes()


def _convert(model: LoadedModel, parts: int, savings: int) -> Any:
    import torch

    example = torch.zeros(1, parts, 64, 64)
    with torch.inference_mode():
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            model.folded(parts=parts, savings=savings), example, check_trace=False
        )
        return openvino.convert_model(traced, example_input=example, input=[1, parts, -1, -1])


def _is_whole(kept: Path) -> bool:
    """Whether a graph is there, and is what was written."""
    try:
        return _digest(kept) == (kept / _DIGEST).read_text()
    except OSError:
        return False


def _digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for kind in ("xml", "bin"):
        with (folder / f"graph.{kind}").open("rb") as file:
            for block in iter(partial(file.read, _BLOCK), b""):
                whole.update(block)
    return whole.hexdigest()


def _keep(graph: Any, kept: Path) -> None:
    """Write a graph, whole or not at all."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".part-", dir=kept.parent))
    try:
        openvino.save_model(graph, partial / "graph.xml", compress_to_fp16=False)
        (partial / _DIGEST).write_text(_digest(partial))
        shutil.rmtree(kept, ignore_errors=True)
        partial.rename(kept)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
