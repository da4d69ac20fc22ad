"""Archives are unpacked below the output folder, for as long as they are read."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ctdenoise.derived.lock import LOCK_NAME, FolderLock
from ctdenoise.errors import CTDenoiseError
from ctdenoise.series.archive import unpack

_PREFIX = ".unpacked-"


@contextmanager
def opened(source: Path, output: Path) -> Iterator[Path]:
    """The folder with what is in a zip, or ``source`` as it is; what killed runs left is removed.

    Raises:
        CTDenoiseError: the zip cannot be unpacked, or the output folder cannot be written.
    """
    if not is_zip(source):
        _remove_left(output, "")
        yield source
        return
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(unpacked(source, output))
        except OSError as error:
            said = f"the output folder cannot be written: {error.strerror}"
            raise CTDenoiseError(said) from None
        yield folder


def is_zip(source: Path) -> bool:
    """Whether a file is named like a zip."""
    return source.suffix.lower() == ".zip" and source.is_file()


@contextmanager
def unpacked(source: Path, output: Path, name: str = "") -> Iterator[Path]:
    """A new folder below ``output`` with what is in a zip, which only its user may read.

    Its lock is beside it, and there before and after it, so that no other run removes it.

    Args:
        source: the zip.
        output: an existing folder.
        name: begins the folder's; what is left of killed runs under such a name is removed.

    Raises:
        CTDenoiseError: the zip cannot be unpacked.
        OSError: no folder can be made.
    """
    _remove_left(output, name)
    folder = output / f"{_PREFIX}{name}{secrets.token_hex(8)}"
    lock = FolderLock(folder, beside=True)
    try:
        folder.mkdir(mode=0o700)
        try:
            unpack(source, folder)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        lock.release()


def _remove_left(output: Path, name: str) -> None:
    left = {path.name.removesuffix(LOCK_NAME) for path in output.glob(f"{_PREFIX}{name}*")}
    for folder in left:
        _remove_unless_held(output / folder)


def _remove_unless_held(folder: Path) -> None:
    try:
        lock = FolderLock(folder, beside=True)
    except (CTDenoiseError, OSError):  # another run reads it, or has just removed it
        return
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()
