"""Folders below an output for what is retrieved, of which nothing stays behind."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctdenoise.derived.lock import FolderLock
from ctdenoise.errors import CTDenoiseError

_PREFIX = ".retrieved-"


@contextmanager
def retrieved_folder(output: Path) -> Iterator[Path]:
    """An empty folder that only its user may read, for as long as it is used.

    What killed runs have left in ``output`` is removed first.

    Args:
        output: an existing folder.

    Raises:
        OSError: the output folder cannot be written.
    """
    for left in output.glob(f"{_PREFIX}*"):
        _remove_if_left(left)
    folder, lock = _locked(output)
    files = folder / "files"
    try:
        files.mkdir()
        yield files
    finally:
        shutil.rmtree(files, ignore_errors=True)
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


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
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()
