"""One writer at a time in a folder, whatever becomes of the one before."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ctdenoise.derived.atomic import PARTIAL_SUFFIX
from ctdenoise.errors import CTDenoiseError

LOCK_NAME = ".lock"

_TAKEN = frozenset({errno.EACCES, errno.EAGAIN, errno.EDEADLK})
# Where nothing can be written there is nothing to mix: the first write says what is wrong.
_NOT_WRITABLE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class FolderLock:
    """Holds a folder for this process until it is released or the process dies.

    The lock is the operating system's, on a hidden file that goes with it: one that a killed
    process has left behind stands in nobody's way. On a file system without locks, or where
    nothing can be written, there is none.

    Args:
        folder: it exists, unless the lock is beside it.
        beside: the hidden file is not in the folder, but beside it, and may be there before it.

    Raises:
        CTDenoiseError: another process, or another run in this one, holds it.
        OSError: the folder cannot be used.
    """

    def __init__(self, folder: Path, *, beside: bool = False) -> None:
        within = folder / LOCK_NAME
        self._path = folder.with_name(f"{folder.name}{LOCK_NAME}") if beside else within
        self._file: int | None = None
        while self._file is None:
            try:
                file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
            except OSError as error:
                if error.errno in _NOT_WRITABLE:
                    return
                raise
            if not _lock(file):
                os.close(file)
                raise CTDenoiseError(f"{folder.name}: another run is writing here; wait for it")
            # Its last holder may have removed it between these two steps.
            if _is(file, self._path):
                self._file = file
            else:
                os.close(file)

    def release(self) -> None:
        """Let the next one in; of no effect the second time."""
        if self._file is None:
            return
        file, self._file = self._file, None
        # Windows removes no file that is open; elsewhere it must go while it is still held.
        if sys.platform == "win32":
            os.close(file)
        with suppress(OSError):
            self._path.unlink()
        if sys.platform != "win32":
            os.close(file)


def _is(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _lock(file: int) -> bool:
    """Whether the lock is ours now, or the file system has none to give."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _TAKEN
    return True


@contextmanager
def open_folder(folder: Path) -> Iterator[FolderLock]:
    """The lock of a folder, which is made, and freed of what a killed run left in it.

    It is held after the block as well, unless that ends with an error.

    Raises:
        CTDenoiseError: another run is writing there.
        OSError: the folder cannot be made or used.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(folder)
    try:
        for path in folder.glob(f"{PARTIAL_SUFFIX}-*"):
            path.unlink()
        yield lock
    except BaseException:
        lock.release()
        raise
