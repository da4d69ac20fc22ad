"""Archives are unpacked below the output folder, for as long as they are read."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctdenoise.derived.lock import FolderLock
from ctdenoise.errors import CTDenoiseError
from ctdenoise.series.archive import unpack

_PREFIX = ".unpacked-"


@contextmanager
def opened(source: Path, output: Path) -> Iterator[Path]:
    """The folder with what is in a zip, or ``source`` as it is; what killed runs left is removed.

    Raises:
        CTDenoiseError: the zip cannot be unpacked.
    """
    for folder in output.glob(f"{_PREFIX}*"):
        _remove_if_left(folder)
    if not (source.suffix.lower() == ".zip" and source.is_file()):
        yield source
        return
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=output))
    try:
        lock = FolderLock(folder)
        try:
            unpack(source, folder / "files")
            yield folder / "files"
        finally:
            lock.release()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_if_left(folder: Path) -> None:
    try:
        lock = FolderLock(folder)
    except (CTDenoiseError, OSError):  # another run reads it, or has just removed it
        return
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()
