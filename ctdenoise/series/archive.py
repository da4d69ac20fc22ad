"""Unpack a zip of series, without trusting it."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath

from ctdenoise.errors import CTDenoiseError
from ctdenoise.file_names import named

MAX_BYTES = 64 * 2**30
MAX_MEMBERS = 1_000_000
MAX_RATIO = 200
_ENCRYPTED = 1


def unpack(archive: Path, folder: Path) -> None:
    """Write the files of ``archive`` below ``folder``.

    Raises:
        CTDenoiseError: it is no zip, is encrypted or damaged, holds a link or a path that leaves
            the folder, or would grow beyond all measure.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            _check(archive, members)
            for member in members:
                opened.extract(member, folder)
    except CTDenoiseError:
        raise
    except OSError as error:
        said = f"cannot be unpacked: {error.strerror or type(error).__name__}"
        raise CTDenoiseError(f"{named(archive)}: {said}") from None
    except Exception as error:  # each way of being damaged has an error of its own
        said = f"is no zip, or damaged ({type(error).__name__})"
        raise CTDenoiseError(f"{named(archive)}: {said}") from None


def _check(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    if any(_leaves(member.filename) for member in members):
        raise CTDenoiseError(f"{named(archive)}: refused, a path in it leaves the folder")
    if any(stat.S_ISLNK(member.external_attr >> 16) for member in members):
        raise CTDenoiseError(f"{named(archive)}: refused, it holds a link")
    if any(member.flag_bits & _ENCRYPTED for member in members):
        raise CTDenoiseError(f"{named(archive)}: refused, it is encrypted")
    if len({member.filename for member in members}) < len(members):
        raise CTDenoiseError(f"{named(archive)}: refused, two files in it have one name")
    size = sum(member.file_size for member in members)
    # Members that lie one over the other are no more than the archive has.
    packed = min(sum(member.compress_size for member in members), archive.stat().st_size)
    if len(members) > MAX_MEMBERS or size > MAX_BYTES or size > MAX_RATIO * max(packed, 2**20):
        raise CTDenoiseError(
            f"{named(archive)}: refused, it would unpack to {size / 2**30:.1f} GiB "
            f"in {len(members)} files"
        )


def _leaves(name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or bool(PureWindowsPath(name).drive)
