"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ctdenoise.errors import CTDenoiseError

PARTIAL_SUFFIX = ".part"


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A path to write to, that becomes ``path`` when the block ends well.

    The data is on the disk before the name is. After an error nothing is left.
    """
    # The suffixes stay at the end: nibabel tells the format by them.
    partial = path.with_name(f"{PARTIAL_SUFFIX}-{path.name}")
    try:
        yield partial
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


class StreamedFile:
    """A file that is written part by part, by calls; it appears when it is finished.

    Args:
        path: of the file.
        opened: opens a path for writing.
    """

    def __init__(self, path: Path, opened: Callable[[Path], BinaryIO]) -> None:
        with ExitStack() as stack:
            partial = stack.enter_context(atomic_file(path))
            self.file = stack.enter_context(opened(partial))
            self._stack = stack.pop_all()

    def finish(self) -> None:
        """Give the file its name; after an error nothing is left."""
        self._stack.close()

    def abandon(self) -> None:
        """Leave nothing of a file that was not finished."""
        # What a full disk says again when the file is closed has been said.
        with suppress(_AbandonedError, OSError), self._stack:
            raise _AbandonedError


class _AbandonedError(Exception):
    pass


def create_folder(path: Path) -> None:
    """Make the folder of an output, with those above it, if it is not there.

    Raises:
        CTDenoiseError: it cannot be made; a file may be in its place.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CTDenoiseError(f"the output folder cannot be created: {error.strerror}") from None
