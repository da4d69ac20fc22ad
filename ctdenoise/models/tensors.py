"""Tensors out of a weights file, without ever running code that a file carries."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from ctdenoise.errors import CTDenoiseError

Tensors = dict[str, NDArray[Any]]
"""By name. They are arrays, so that a safetensors file needs no PyTorch to be read."""

_WRAPPERS = ("params", "params_ema", "state_dict", "model", "network")


def read_tensors(path: Path) -> tuple[Tensors, Mapping[str, str]]:
    """Named tensors and text metadata of a safetensors file, a PyTorch file or a TorchScript.

    Pickled files are read with ``weights_only``; of a TorchScript archive, such as OpenAI's
    ``RN50.pt``, only the tensors are taken and none of its code is run. What is bfloat16 becomes
    float32.

    Raises:
        CTDenoiseError: the file does not exist, is of no such kind, or holds more than tensors.
    """
    if not path.is_file():
        raise CTDenoiseError(f"{path}: no such weights file")
    with path.open("rb") as file:
        start = file.read(9)
    if start[8:9] == b"{":
        return _from_safetensors(path)
    from ctdenoise.models.torchscript import is_torchscript

    if is_torchscript(path):
        return _from_torchscript(path), {}
    return _from_pickle(path), {}


def as_arrays(tensors: Mapping[str, Any]) -> Tensors:
    """PyTorch's tensors as arrays, which share their memory where they can."""
    return {name: _as_array(tensor) for name, tensor in tensors.items()}


def _as_array(tensor: Any) -> NDArray[Any]:
    import torch

    plain = tensor.detach().cpu()
    return np.asarray((plain.float() if plain.dtype == torch.bfloat16 else plain).numpy())


def _from_safetensors(path: Path) -> tuple[Tensors, Mapping[str, str]]:
    try:
        with safe_open(path, framework="np") as file:
            metadata, names = file.metadata() or {}, list(file.keys())
            if all(file.get_slice(name).get_dtype() != "BF16" for name in names):
                return {name: file.get_tensor(name) for name in names}, metadata
        with safe_open(path, framework="pt") as file:
            return as_arrays({name: file.get_tensor(name) for name in names}), metadata
    except (SafetensorError, OSError) as error:
        raise CTDenoiseError(f"{path.name}: damaged safetensors file ({error})") from None


def _from_torchscript(path: Path) -> Tensors:
    from ctdenoise.models.torchscript import read_torchscript

    try:
        return as_arrays(read_torchscript(path))
    except pickle.UnpicklingError as error:
        raise CTDenoiseError(
            f"{path.name}: refused, it is no plain weights file ({error})"
        ) from None
    except Exception as error:  # a damaged pickle fails in any way it likes
        raise CTDenoiseError(
            f"{path.name}: damaged TorchScript archive ({type(error).__name__})"
        ) from None


def _from_pickle(path: Path) -> Tensors:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CTDenoiseError(
            f"{path.name}: refused, it is no plain weights file: it holds more than tensors, "
            "or is damaged; save its state dict as safetensors"
        ) from None
    except Exception:  # a damaged pickle fails in any way it likes
        raise CTDenoiseError(f"{path.name}: not a weights file, or a damaged one") from None
    for _ in range(3):
        if isinstance(content, Mapping) and content:
            if all(isinstance(value, torch.Tensor) for value in content.values()):
                return as_arrays({str(n).removeprefix("module."): t for n, t in content.items()})
            inner = next((content[k] for k in _WRAPPERS if k in content), None)
            content = inner if inner is not None else None
    raise CTDenoiseError(f"{path.name}: holds no state dict")
