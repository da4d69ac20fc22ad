"""Killed, on a failing drive, two at once: what is there is whole, and the rest follows."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ctdenoise.derived.lock import LOCK_NAME, FolderLock
from ctdenoise.errors import CTDenoiseError
from ctdenoise.unpacked import opened
from tests.conftest import ROOT, Run
from tests.made import make

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
PATTERNS = {"series": "*.dcm", "frames": "*.dcm", "volume": "*.nii.gz"}


def digests(path: Path) -> dict[Path, str]:
    files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def hidden(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(".")]


@linux
@pytest.mark.parametrize(("kind", "random_kills"), [("series", 12), ("frames", 4), ("volume", 4)])
def test_killed_runs_leave_nothing_that_only_looks_finished(
    tmp_path: Path,
    small_model: Path,
    record_property: Callable[[str, object], None],
    kind: str,
    random_kills: int,
) -> None:
    """Before each change of a file, in the middle of a write, and at random moments.

    Each time the next run goes on from what is finished, which is not written again, and no
    source was opened for writing; a second run at the same time is turned away.
    """
    source = make(kind, tmp_path / "in", 4, side=32)
    before = digests(source)
    command = [sys.executable, "-m", "tests.killing", small_model, source, tmp_path / "out"]
    done = subprocess.run(
        [*map(str, command), PATTERNS[kind], str(random_kills)],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["files"] == (4 if kind == "series" else 1)
    assert found["kills_before_a_change"] >= 5
    for name, first in (("two_runs", 0), ("two_runs_one_killed", -9)):
        assert (found[name]["first"], found[name]["second"]) == (first, 1)
        (line,) = [line for line in found[name]["lines"] if "another run is writing here" in line]
        assert "refused" in line
    assert digests(source) == before
    kills = sum(count for name, count in found.items() if name.startswith("kills_"))
    record_property("reliability: kills survived", kills + 1)


def test_a_lock_goes_with_its_holder(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).write_bytes(b"left by a killed run")
    lock = FolderLock(tmp_path)
    with pytest.raises(CTDenoiseError, match="another run is writing here"):
        FolderLock(tmp_path)
    lock.release()
    assert not (tmp_path / LOCK_NAME).exists()
    FolderLock(tmp_path).release()
    lock.release()


def zipped(folder: Path) -> Path:
    """A zip beside a folder, of what is in it."""
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    return folder.with_suffix(".zip")


def test_what_a_killed_run_unpacked_is_removed_by_the_next(
    run: Run, series_dir: Path, tmp_path: Path
) -> None:
    left, used = (tmp_path / "out" / f".unpacked-{name}" for name in ("left", "used"))
    for folder in (left, used):
        folder.mkdir(parents=True)
        folder.with_name(f"{folder.name}{LOCK_NAME}").touch()
        shutil.copy(series_dir / "1-12.dcm", folder)
    lock = FolderLock(used, beside=True)
    source = zipped(series_dir)
    assert run(source) == 0
    names = sorted(path.name for path in hidden(tmp_path / "out"))
    assert names == [".unpacked-used", ".unpacked-used.lock"]
    assert (used / "1-12.dcm").exists()
    lock.release()
    assert run(source) == 0
    assert hidden(tmp_path / "out") == []
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 3


def test_what_is_being_unpacked_is_left_by_a_run_that_begins(
    run: Run, series_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    mkdir = os.mkdir

    def mkdir_and_another_run(path: Path, *arguments: int, **more: int) -> None:
        mkdir(path, *arguments, **more)
        if Path(path).parent == tmp_path / "out" and Path(path).name.startswith(".unpacked-"):
            with opened(series_dir, tmp_path / "out"):
                seen.append(Path(path).stat().st_mode & 0o777)

    monkeypatch.setattr(os, "mkdir", mkdir_and_another_run)
    assert run(zipped(series_dir)) == 0
    assert seen == [0o700]
    assert hidden(tmp_path / "out") == []


@linux
def test_a_zip_and_an_output_that_cannot_be_written_is_one_line(
    run: Run, series_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for output in ("/sys", "/proc"):
        assert run(zipped(series_dir), "--output", output) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "the output folder cannot be written: " in line
        assert "unexpected" not in line


@linux
def test_an_output_that_is_read_only_is_one_line_and_what_is_there_is_kept(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs a read-only disk, which root can make")
    source = make("series", tmp_path / "in", 6, side=32)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    if subprocess.run(mount).returncode:
        pytest.skip("needs a disk of its own, which cannot be made here")
    try:
        assert run(source, "--output", disk, "--quiet") == 0
        whole = digests(disk)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert run(source, "--output", disk, "--quiet") == 0, "there is nothing to write"
        assert capsys.readouterr().err == ""
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        lost = sorted(whole)[-1]
        lost.unlink()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        assert run(source, "--output", disk, "--quiet") == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line == "series 1 of 1: failed: cannot be written: Read-only file system"
        assert digests(disk) == {path: text for path, text in whole.items() if path != lost}
        assert run(source, "--output", disk / "new") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.endswith("cannot be created: Read-only file system")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def strace(*options: str) -> list[str]:
    """What runs a command with system calls watched, or made to fail."""
    found = shutil.which("strace")
    if found is None:
        pytest.skip("needs strace")
    if subprocess.run([found, "-o", os.devnull, "true"], capture_output=True).returncode:
        pytest.skip("needs strace, which may watch nothing here")
    return [found, "-f", "-qq", "--seccomp-bpf", *options]


def traced_run(tmp_path: Path, model: Path, source: Path, *options: str) -> tuple[int, str, str]:
    """Exit code, lines, and system calls of a run under strace."""
    arguments = ["--input", source, "--output", tmp_path / "out", "--model", model]
    more = ["--backend", "torch", "--threads", "1", "--verbose"]
    command = [*strace("-o", str(tmp_path / "calls"), *options), sys.executable, "-m", "ctdenoise"]
    done = subprocess.run(
        [*command, "run", *map(str, arguments), *more], capture_output=True, text=True, timeout=600
    )
    return done.returncode, done.stderr, (tmp_path / "calls").read_text(errors="replace")


@linux
@pytest.mark.parametrize(
    ("call", "place", "error", "said", "kept"),
    [
        ("read", "in/0002.dcm", "ESTALE", "cannot be read: Stale file handle", 3),
        ("write", "out/{}/.part-00003.dcm", "EIO", "cannot be written: Input/output error", 2),
        ("fsync", "out/{}/.part-00002.dcm", "EDQUOT", "cannot be written: Disk quota exceeded", 1),
    ],
)
def test_a_drive_that_fails_is_one_line_and_what_is_finished_is_kept(
    run: Run,
    tmp_path: Path,
    small_model: Path,
    call: str,
    place: str,
    error: str,
    said: str,
    kept: int,
) -> None:
    source = make("series", tmp_path / "in", 4, side=32)
    assert run(source, "--output", tmp_path / "whole", "--backend", "torch") == 0
    (folder,) = (tmp_path / "whole").iterdir()
    path = str(tmp_path / place.format(folder.name))
    inject = ("-e", f"trace={call}", "-e", f"inject={call}:error={error}", "-P", path)
    code, lines, calls = traced_run(tmp_path, small_model, source, *inject)
    assert "(INJECTED)" in calls
    assert code == 1
    assert sum(said in line for line in lines.splitlines()) == 1
    assert "Traceback" not in lines
    left = sorted((tmp_path / "out").rglob("*.dcm"))
    assert len(left) == kept
    assert hidden(tmp_path / "out") == []
    if call != "read":
        before = {path: path.stat().st_mtime_ns for path in left}
        assert run(source, "--backend", "torch") == 0
        assert len(list((tmp_path / "out").rglob("*.dcm"))) == 4
        assert {path: path.stat().st_mtime_ns for path in left} == before


@linux
def test_no_system_call_opens_a_source_for_writing(tmp_path: Path, small_model: Path) -> None:
    source = make("series", tmp_path / "in", 3, side=32)
    before = digests(source)
    code, _, calls = traced_run(tmp_path, small_model, source, "-e", "trace=%file,ftruncate")
    assert code == 0
    of_sources = [line for line in calls.splitlines() if str(source) in line]
    assert len(of_sources) > 3
    reading = ("open", "stat", "lstat", "newfstatat", "readlink", "access", "faccessat", "execve")
    for line in of_sources:
        assert line.split(maxsplit=1)[1].startswith(reading), line
        assert not any(flag in line for flag in ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC")), line
    assert digests(source) == before
