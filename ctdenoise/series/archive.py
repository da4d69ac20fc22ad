"""Unpack a zip of series, without trusting it."""

from __future__ import annotations

import zipfile
from pathlib import Path, PurePosixPath

from ctdenoise.errors import CTDenoiseError
from ctdenoise.file_names import named

MAX_BYTES = 64 * 2**30
MAX_MEMBERS = 1_000_000
MAX_RATIO = 200


def unpack(archive: Path, folder: Path) -> None:
    """Write the files of ``archive`` below ``folder``.

    Raises:
        CTDenoiseError: it is no zip, is encrypted or damaged, holds a path that leaves the
            folder, or would grow beyond all measure.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            _check(archive, members)
            for member in members:
                opened.extract(member, folder)
    except CTDenoiseError:
        raise
    except Exception as error:  # each way of being damaged has an error of its own
        raise CTDenoiseError(f"{named(archive)}: cannot be unpacked ({error})") from None


def _check(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    for member in members:
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts:
            raise CTDenoiseError(f"{named(archive)}: refused, a path in it leaves the folder")
    if len({member.filename for member in members}) < len(members):
        raise CTDenoiseError(f"{named(archive)}: refused, two files in it have one name")
    size = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if len(members) > MAX_MEMBERS or size > MAX_BYTES or size > MAX_RATIO * max(packed, 2**20):
        raise CTDenoiseError(
            f"{named(archive)}: refused, it would unpack to {size / 2**30:.1f} GiB "
            f"in {len(members)} files"
        )
