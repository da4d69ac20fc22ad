"""Archives are unpacked below the output folder, for as long as they are read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ctdenoise.series.archive import unpack
from ctdenoise.temporary import UNPACKED, not_writable, remove_left, temporary_folder


@contextmanager
def opened(source: Path, output: Path) -> Iterator[Path]:
    """The folder with what is in a zip, or ``source`` as it is; what killed runs left is removed.

    Raises:
        CTDenoiseError: the zip cannot be unpacked, or the output folder cannot be written.
    """
    if not is_zip(source):
        remove_left(output, UNPACKED)
        yield source
        return
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(unpacked(source, output))
        except OSError as error:
            raise not_writable(error) from None
        yield folder


def is_zip(source: Path) -> bool:
    """Whether a file is named like a zip."""
    return source.suffix.lower() == ".zip" and source.is_file()


@contextmanager
def unpacked(source: Path, output: Path, name: str = "") -> Iterator[Path]:
    """A new folder below ``output`` with what is in a zip, which only its user may read.

    Args:
        source: the zip.
        output: an existing folder.
        name: begins the folder's; what is left of killed runs under such a name is removed.

    Raises:
        CTDenoiseError: the zip cannot be unpacked.
        OSError: no folder can be made.
    """
    with temporary_folder(output, f"{UNPACKED}{name}") as folder:
        unpack(source, folder)
        yield folder
