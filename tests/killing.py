"""Runs that are killed: a warm process forks each of them, and looks at what it has left.

As a script: ``python -m tests.killing MODEL SOURCE FOLDER [PATTERN]`` prints what it found as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom

from ctdenoise.cli import main

FAST = ["--backend", "torch", "--threads", "1"]
TOUCHED_A_SOURCE = 99
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = ("os.rename", "os.remove", "os.truncate", "os.chmod", "os.utime", "os.link", "os.mkdir")


def nothing() -> None:
    """Let a run be."""


def forked(arguments: list[str], *, first: Callable[[], None] = nothing, said: int = -1) -> int:
    """Start a run in a process of its own, which does something first; returns its number."""
    process = os.fork()
    if process:
        return process
    signal.alarm(300)
    if said < 0:
        said = os.open(os.devnull, os.O_WRONLY)
    os.dup2(said, 2)
    first()
    os._exit(main(arguments))


def ended(process: int) -> int:
    """How a process ended: its exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def on_change_below(folder: Path, do: Callable[[], None]) -> Callable[[], None]:
    """What makes a process call ``do`` before each change of a file below a folder."""
    root = os.fsencode(folder)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            changes = isinstance(flags, int) and bool(flags & _WRITES)
        else:
            path, changes = arguments[0] if arguments else None, event in _CHANGES
        named = changes and isinstance(path, str | bytes | os.PathLike)
        if named and os.fsencode(path).startswith(root):
            do()

    return lambda: sys.addaudithook(hook)


class Trial:
    """A folder that runs are killed in.

    Args:
        command: a run without its output.
        source: what it reads.
        whole: the folder of a run that was let be; None for that run itself.
        pattern: of what it writes.
    """

    def __init__(
        self, command: list[str], source: Path, folder: Path, whole: Path | None, pattern: str
    ) -> None:
        self.folder, self.whole, self.pattern = folder, whole, pattern
        self.arguments = [*command, "--output", str(folder)]
        self._source = source
        self._seen: dict[Path, tuple[int, int]] = {}
        self.kills = 0

    def run(self, first: Callable[[], None] = nothing, after: float | None = None) -> int:
        """A run that is killed when ``first`` says so, or after some seconds, or not at all."""
        watch = on_change_below(self._source, lambda: os._exit(TOUCHED_A_SOURCE))

        def prepare() -> None:
            watch()
            first()

        process = forked(self.arguments, first=prepare)
        if after is not None:
            time.sleep(after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        code = ended(process)
        assert code in (0, -signal.SIGKILL, -signal.SIGXFSZ), code
        self.kills += code < 0
        self.look()
        return code

    def finished(self) -> list[Path]:
        """Files that look finished."""
        return sorted(
            path
            for path in self.folder.rglob(self.pattern)
            if not any(part.startswith(".") for part in path.relative_to(self.folder).parts)
        )

    def look(self) -> None:
        """What looks finished is what the whole run wrote, and is never written again."""
        for path in self.finished():
            if self.whole is not None:
                assert same(path, self.whole / path.relative_to(self.folder)), path
            found = path.stat()
            assert self._seen.setdefault(path, (found.st_ino, found.st_mtime_ns)) == (
                found.st_ino,
                found.st_mtime_ns,
            ), "written again"

    def finish(self) -> None:
        """A run that is let be makes it whole."""
        assert self.run() == 0
        assert self.whole is not None
        names = [sorted(p.relative_to(f) for p in f.rglob("*")) for f in (self.folder, self.whole)]
        assert names[0] == names[1], "something is missing, or left"


def same(ours: Path, whole: Path) -> bool:
    """Whether two files are the same but for date and time."""
    if ours.suffix != ".dcm":
        return ours.read_bytes() == whole.read_bytes()
    if ours.stat().st_size != whole.stat().st_size:
        return False
    one, other = pydicom.dcmread(ours), pydicom.dcmread(whole)
    return one.SOPInstanceUID == other.SOPInstanceUID and one.PixelData == other.PixelData


def at_each_change(make: Callable[[str], Trial]) -> int:
    """Kill before the first change of a file, before the second, and so on; returns how many."""
    kills = 0
    while True:
        trial = make(f"change{kills}")
        left = [kills]

        def count(left: list[int] = left) -> None:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1

        if trial.run(on_change_below(trial.folder, count)) == 0:
            return kills
        trial.finish()
        kills += 1


def while_writing(make: Callable[[str], Trial], sizes: list[int]) -> int:
    """Kill in the middle of a write, at some sizes of the file; returns how many."""

    def limit(size: int) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    for size in sizes:
        trial = make(f"size{size}")
        assert trial.run(lambda size=size: limit(size)) < 0
        assert not trial.finished()
        trial.finish()
    return len(sizes)


def at_random(make: Callable[[str], Trial], seconds: float, kills: int) -> int:
    """Kill at random moments, again and again in a folder until it is whole; returns how many."""
    moments = random.Random(0)
    done = 0
    while done < kills:
        trial = make(f"moment{done}")
        while trial.kills < kills and trial.run(after=moments.uniform(0.0, seconds)) < 0:
            pass
        trial.finish()
        done += max(trial.kills, 1)
    return done


def two_at_once(trial: Trial, *, killed: bool) -> dict[str, object]:
    """A run comes while another has begun to write, which is then killed, or goes on."""
    told, tell = os.pipe()
    wait, go_on = os.pipe()
    begun = [False]

    def stop() -> None:
        if not begun[0] and trial.folder.is_dir() and list(trial.folder.rglob(".part-*")):
            begun[0] = True
            os.write(tell, b"!")
            os.read(wait, 1)

    one = forked(trial.arguments, first=on_change_below(trial.folder, stop))
    os.read(told, 1)
    hear, said = os.pipe()
    two = forked(trial.arguments, said=said)
    os.close(said)
    with os.fdopen(hear) as file:
        lines = file.read().splitlines()
    found = {"second": ended(two), "lines": lines}
    if killed:
        os.kill(one, signal.SIGKILL)
    os.write(go_on, b"!")
    found["first"] = ended(one)
    trial.finish()
    return found


def measure(model: Path, source: Path, folder: Path, pattern: str, random_kills: int) -> dict:
    """All of it."""
    command = ["run", "--input", str(source), "--model", str(model), *FAST]
    reference = Trial(command, source, folder / "whole", None, pattern)
    # In this process, so that what is forked from it is warm.
    assert main([*reference.arguments, "--quiet"]) == 0
    started = time.monotonic()
    again = Trial(command, source, folder / "again", reference.folder, pattern)
    again.finish()
    seconds = time.monotonic() - started

    def make(name: str) -> Trial:
        return Trial(command, source, folder / name, reference.folder, pattern)

    size = reference.finished()[0].stat().st_size
    return {
        "files": len(reference.finished()),
        "kills_before_a_change": at_each_change(make),
        "kills_while_writing": while_writing(make, [100, size // 2, size - 1]),
        "kills_at_random": at_random(make, 1.2 * seconds, random_kills),
        "two_runs": two_at_once(make("two"), killed=False),
        "two_runs_one_killed": two_at_once(make("two_killed"), killed=True),
    }


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:4]]
    print(json.dumps(measure(*given, pattern=sys.argv[4], random_kills=int(sys.argv[5]))))
