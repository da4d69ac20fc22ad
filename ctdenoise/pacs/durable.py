"""Files and folders that are there after a power failure as well."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterable
from pathlib import Path

from ctdenoise.derived.atomic import PARTIAL_SUFFIX
from ctdenoise.errors import CTDenoiseError

Bytes = bytes | memoryview


def sync_folder(folder: Path) -> None:
    """Make sure of the names in a folder."""
    if sys.platform == "win32":  # which cannot open a folder, and keeps names by its journal
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_partial(folder: Path, parts: Iterable[Bytes]) -> Path:
    """A file of a name of its own in ``folder`` that is on the disk; to be renamed."""
    partial = folder / f"{PARTIAL_SUFFIX}-{secrets.token_hex(8)}"
    try:
        with partial.open("xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    return partial


def write(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all, and make sure of it."""
    os.replace(write_partial(path.parent, [content]), path)
    sync_folder(path.parent)


def move(source: Path, target: Path) -> None:
    """Rename a file or a folder, and make sure of it."""
    os.rename(source, target)
    sync_folder(target.parent)
    if source.parent != target.parent:
        sync_folder(source.parent)


_OF_THE_DISK = "lost+found"


class OwnFolder:
    """A folder that one process alone may use, with nothing else in it.

    The lock goes with the process, however it ends.

    Args:
        folder: that is locked.
        name: of the file for it, which stays, and tells a folder that was used before.

    Raises:
        CTDenoiseError: another process has it, it holds something else, or it cannot be used.
    """

    def __init__(self, folder: Path, name: str) -> None:
        try:
            there = {path.name for path in folder.iterdir()} - {_OF_THE_DISK}
            if there and name not in there:
                raise CTDenoiseError(f"{folder}: holds something else; name a folder of its own")
            self._file = (folder / name).open("a")
        except OSError as error:
            raise CTDenoiseError(f"{folder}: cannot be used: {error.strerror}") from None
        if sys.platform == "win32":
            return
        import fcntl

        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise CTDenoiseError(f"{folder}: another node is using it") from None

    def release(self) -> None:
        """Leave the folder to others."""
        self._file.close()
