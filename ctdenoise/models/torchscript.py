"""The tensors of a TorchScript archive, without loading the script.

``torch.jit.load`` runs code of the archive while it loads (``__setstate__``), and that code can
write files. The archive's data is a pickle of modules and tensors: it is read here by an
unpickler that knows these and nothing else.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import torch

_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


def is_torchscript(path: Path) -> bool:
    """Whether a file is a zip archive that holds a script."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(PurePosixPath(name).name == "constants.pkl" for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False


def read_torchscript(path: Path) -> dict[str, torch.Tensor]:
    """Named tensors of the archive's module, as its state dict would have them.

    Raises:
        pickle.UnpicklingError: the archive holds more than modules and tensors.
        zipfile.BadZipFile, KeyError, RuntimeError, ValueError: it is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        (name,) = (n for n in archive.namelist() if PurePosixPath(n).name == "data.pkl")
        module = _TensorUnpickler(archive, PurePosixPath(name).parent).load()
    return dict(_named_tensors(module, ""))


class _Module:
    """Stands for any module of the archive: a holder of attributes."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


class _TensorUnpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile, root: PurePosixPath) -> None:
        self._archive = archive
        self._root = root
        super().__init__(io.BytesIO(archive.read(str(root / "data.pkl"))))

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Module
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch.jit._pickle":
            return _list
        raise pickle.UnpicklingError(f"{module}.{name} is no tensor")

    def persistent_load(self, pid: Any) -> torch.Tensor:
        """The storage that a tensor refers to, flat."""
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise pickle.UnpicklingError("unknown persistent object")
        data = self._archive.read(str(self._root / "data" / str(key)))
        if len(data) != count * dtype.itemsize:
            raise ValueError("a storage is not as long as it says")
        return torch.frombuffer(bytearray(data), dtype=dtype) if data else torch.empty(0).to(dtype)


def _rebuild(
    storage: torch.Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> torch.Tensor:
    return torch.as_strided(storage, size, stride, offset).clone()


def _list(values: Any, *_: Any) -> list[Any]:
    return list(values)


def _named_tensors(module: _Module, prefix: str) -> Iterator[tuple[str, torch.Tensor]]:
    for name, value in vars(module).items():
        if isinstance(value, torch.Tensor):
            yield prefix + name, value
        elif isinstance(value, _Module):
            yield from _named_tensors(value, f"{prefix}{name}.")
