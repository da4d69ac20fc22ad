"""One worker at a time for a series, and a count of those that died over it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

FOLDER = ".claims"


class Claim:
    """A held claim; ``deaths`` says how many workers of this command had it and died."""

    def __init__(self, file: BinaryIO, command: str) -> None:
        self._file = file
        file.seek(0)
        self.deaths = file.read().split().count(command.encode())
        file.write(f"{command}\n".encode())

    def survived(self) -> None:
        """What is done from here on is not what workers die of."""
        self._file.truncate(0)


@contextmanager
def claimed(folder: Path, name: str, command: str) -> Iterator[Claim]:
    """Wait until nobody else is at ``name``, and be at it.

    The system lets go of it when a process is killed, but its line in the file stays. Where the
    file system has no locks it is taken without.

    Args:
        folder: of the claims.
        name: of a series or an input.
        command: on behalf of which.
    """
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    path = folder / FOLDER / name
    file = _locked(path)
    try:
        claim = Claim(file, command)
        try:
            yield claim
        finally:
            claim.survived()
            with suppress(OSError):  # Windows removes no file that is open
                path.unlink()
    finally:
        file.close()


def _locked(path: Path) -> BinaryIO:
    while True:
        file = path.open("a+b", buffering=0)
        _lock(file)
        # Who had it before may have removed it while we waited.
        with suppress(OSError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()


def _lock(file: BinaryIO) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    with suppress(OSError):
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
