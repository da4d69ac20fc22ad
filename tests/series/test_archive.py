"""Zips that are made to do harm: one clear line, and nothing unpacked."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from ctdenoise.errors import CTDenoiseError
from ctdenoise.series.archive import unpack
from tests.conftest import Run, assert_one_line


def zipped(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def link(name: str) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.create_system = 3
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member


@pytest.mark.parametrize(
    ("member", "said"),
    [
        ("../evil", "leaves the folder"),
        ("a/../../evil", "leaves the folder"),
        ("/evil", "leaves the folder"),
        ("\\evil", "leaves the folder"),
        ("C:\\evil", "leaves the folder"),
        ("C:evil", "leaves the folder"),
        ("\\\\host\\share\\evil", "leaves the folder"),
        (link("evil"), "holds a link"),
        ("e" * 10_000, "cannot be unpacked"),
    ],
)
def test_zips_that_lead_elsewhere_are_refused(
    run: Run,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    member: str | zipfile.ZipInfo,
    said: str,
) -> None:
    archive = zipped(tmp_path / "z.zip", ("harmless", b"1"), (member, b"/etc/passwd"))
    before = set(tmp_path.rglob("*"))
    assert run(archive) == 2
    assert_one_line(capsys, said)
    assert set(tmp_path.rglob("*")) - before == {tmp_path / "out"}


def test_zips_that_are_none_or_damaged(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "none.zip").write_text("hello")
    assert run(tmp_path / "none.zip") == 2
    assert_one_line(capsys, "is no zip, or damaged")
    data = bytearray(zipped(tmp_path / "z.zip", ("a", bytes(range(256)) * 64)).read_bytes())
    data[60] ^= 0xFF
    (tmp_path / "z.zip").write_bytes(data)
    assert run(tmp_path / "z.zip") == 2
    assert_one_line(capsys, "is no zip, or damaged")
    flags = bytearray(zipped(tmp_path / "key.zip", ("a", b"1")).read_bytes())
    flags[flags.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "key.zip").write_bytes(flags)
    assert run(tmp_path / "key.zip") == 2
    assert_one_line(capsys, "it is encrypted")


def test_a_zip_whose_members_lie_one_over_the_other(tmp_path: Path) -> None:
    """Each is small beside its packed size; together they are many times the archive."""
    path = zipped(tmp_path / "z.zip", ("0", bytes(100 * 2**20)))
    with zipfile.ZipFile(path, "a") as archive:
        (first,) = archive.infolist()
        for place in range(1, 100):
            again = zipfile.ZipInfo(str(place))
            for name in ("compress_type", "CRC", "compress_size", "file_size", "header_offset"):
                setattr(again, name, getattr(first, name))
            archive.filelist.append(again)
        archive._didModify = True
    (tmp_path / "out").mkdir()
    with pytest.raises(CTDenoiseError, match="would unpack to"):
        unpack(path, tmp_path / "out")
