"""Folders below an output for what is unpacked or retrieved, of which nothing stays behind."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctdenoise.derived.lock import LOCK_NAME, FolderLock
from ctdenoise.errors import CTDenoiseError

UNPACKED = ".unpacked-"
RETRIEVED = ".retrieved-"


@contextmanager
def temporary_folder(output: Path, begin: str) -> Iterator[Path]:
    """A new folder that only its user may read, for as long as it is used.

    Its lock is beside it, and there before and after it, so that no other run removes it.

    Args:
        output: an existing folder.
        begin: of the folder's name; what is left of killed runs under such a name is removed.

    Raises:
        OSError: no folder can be made.
    """
    remove_left(output, begin)
    folder = output / f"{begin}{secrets.token_hex(8)}"
    lock = FolderLock(folder, beside=True)
    try:
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        lock.release()


def remove_left(output: Path, begin: str) -> None:
    """Remove what killed runs have left under names that begin so in ``output``."""
    left = {path.name.removesuffix(LOCK_NAME) for path in output.glob(f"{begin}*")}
    for folder in left:
        _remove_unless_held(output / folder)


def not_writable(error: OSError) -> CTDenoiseError:
    """What is said of an output folder in which nothing can be made."""
    said = error.strerror or type(error).__name__
    return CTDenoiseError(f"the output folder cannot be written: {said}")


def _remove_unless_held(folder: Path) -> None:
    try:
        lock = FolderLock(folder, beside=True)
    except (CTDenoiseError, OSError):  # another run uses it, or has just removed it
        return
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()
