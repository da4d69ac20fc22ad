"""How a user's files are named in lines, logs and reports: a path may hold a patient's name."""

from __future__ import annotations

import hashlib
from pathlib import Path

_shown = False


def show_paths(shown: bool) -> None:
    """Name files by their own names, which a user may ask for on the terminal."""
    global _shown
    _shown = shown


def named(path: Path) -> str:
    """A file's name where a user asked for it, else ``file`` and a digest of its absolute path."""
    return path.name if _shown else f"file {path_digest(path)}"


def path_digest(path: Path) -> str:
    """Eight hexadecimal digits that stand for a path."""
    return hashlib.sha256(str(path.absolute()).encode("utf-8", "surrogateescape")).hexdigest()[:8]
