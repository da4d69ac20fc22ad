"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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


def create_folder(path: Path) -> None:
    """Make a folder, with those above it, if it is not there.

    Raises:
        CTDenoiseError: it cannot be made; a file may be in its place.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CTDenoiseError(f"{path}: cannot be created: {error.strerror}") from None
