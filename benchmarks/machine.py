"""The machine that figures come from."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("torch", "openvino", "numpy", "pydicom")


def machine() -> str:
    """Cores and name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} x {names[0] if names else platform.machine()}"


def number_formats() -> str:
    """What the processor has for networks, as far as it says so."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split()}
    known = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
    return ", ".join(name for name in known if name in flags) or "not known"


def versions() -> str:
    """Python and the packages that compute, read and write."""
    found = [f"Python {platform.python_version()}"]
    for name in PACKAGES:
        if find_spec(name) is not None:
            found.append(f"{name} {metadata.version(name).split('-')[0]}")
    return ", ".join(found)


def has_openvino() -> bool:
    """Whether OpenVINO is installed; its rows are left out where it is not."""
    return find_spec("openvino") is not None
