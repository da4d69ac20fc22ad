"""Folders below an output for what is retrieved, of which nothing stays behind."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ctdenoise.derived.lock import FolderLock
from ctdenoise.errors import CTDenoiseError

_PREFIX = ".retrieved-"
_FILES = "files"


@contextmanager
def retrieved_folder(output: Path) -> Iterator[Path]:
    """An empty folder that only its user may read, for as long as it is used.

    What killed runs have left in ``output`` is removed first.

    Args:
        output: an existing folder.

    Raises:
        OSError: the output folder cannot be written.
    """
    remove_left(output)
    folder, lock = _locked(output)
    files = folder / _FILES
    try:
        files.mkdir()
        yield files
    finally:
        _remove(folder, lock)


def remove_left(output: Path) -> None:
    """Remove what killed runs have left in ``output``, which may not be there."""
    for left in output.glob(f"{_PREFIX}*"):
        _remove_if_left(left)


def _locked(output: Path) -> tuple[Path, FolderLock]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=output))
        try:
            return folder, FolderLock(folder)
        except (CTDenoiseError, FileNotFoundError):
            continue  # before it was locked, another run took it for one that was left


def _remove_if_left(folder: Path) -> None:
    try:
        lock = FolderLock(folder)
    except (CTDenoiseError, OSError):  # another run uses it, or has just removed it
        return
    _remove(folder, lock)


def _remove(folder: Path, lock: FolderLock) -> None:
    """Remove a folder that is locked.

    The file of the lock goes last, and the folder only if it is empty then: it may be another
    run's by now.
    """
    shutil.rmtree(folder / _FILES, ignore_errors=True)
    lock.release()
    with suppress(OSError):
        folder.rmdir()
