"""A command in a process of its own: seconds, peak memory, and when its first file was there.

    python -m benchmarks.command [--watch FOLDER] COMMAND ...

prints them as JSON. It is a small process in between: what a process has had at most counts from
the one that it was forked from.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.interleaved import ROOT, Rounds

_POLL_SECONDS = 0.01


@dataclass(frozen=True)
class Usage:
    """What a command took.

    Attributes:
        seconds: from its start to its end.
        peak_mib: most memory that was resident.
        first_seconds: until a file was there in the folder that was watched.
    """

    seconds: float
    peak_mib: float
    first_seconds: float | None


def ctdenoise(*arguments: object) -> list[str]:
    """The command line."""
    return [sys.executable, "-m", "ctdenoise", *map(str, arguments)]


def measure(command: Sequence[str], env: Mapping[str, str], watch: Path | None = None) -> Usage:
    """What a command takes.

    Raises:
        RuntimeError: it failed; what it said is on stderr.
    """
    between = [sys.executable, "-m", "benchmarks.command"]
    if watch is not None:
        between += ["--watch", str(watch)]
    result = subprocess.run(
        [*between, "--", *command], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=dict(env)
    )
    if result.returncode != 0:
        raise RuntimeError(f"failed: {' '.join(command)}")
    return Usage(**json.loads(result.stdout))


def in_turns(
    rounds: Rounds, measured: Mapping[str, Callable[[int], Usage]]
) -> dict[str, list[Usage]]:
    """What several commands take, one after the other in every round.

    Args:
        rounds: how many.
        measured: runs the command, given the number of the round.
    """
    found: dict[str, list[Usage]] = {name: [] for name in measured}
    for number in range(rounds.warm_up + rounds.measured):
        for name, run in measured.items():
            usage = run(number)
            if number >= rounds.warm_up:
                found[name].append(usage)
    return found


def _run(command: Sequence[str], watch: Path | None) -> tuple[int, Usage]:
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    first = None
    ended = 0
    while watch is not None and first is None and not ended:
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if any(path.stat().st_size for path in watch.rglob("[0-9]*.dcm")):
            first = time.perf_counter() - begin
        else:
            time.sleep(_POLL_SECONDS)
    if not ended:
        _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return process.returncode, Usage(seconds, usage.ru_maxrss / unit, first)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--watch", type=Path)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    code, usage = _run(options.command, options.watch)
    print(json.dumps(asdict(usage)))
    return code


if __name__ == "__main__":
    sys.exit(main())
