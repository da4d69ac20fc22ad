"""Workers that take turns: what disturbs the machine disturbs all of them alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[1]

_CHANGES_MALLOC = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")


@dataclass(frozen=True)
class Rounds:
    """How often each worker has its turn.

    Attributes:
        warm_up: rounds that do not count.
        measured: rounds that do.
    """

    warm_up: int = 2
    measured: int = 9


def environment(cache: Path, **more: str) -> dict[str, str]:
    """This process' environment with the C library's own malloc and a cache of its own."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_CHANGES_MALLOC)}
    return kept | {"XDG_CACHE_HOME": str(cache)} | more


class Worker:
    """A running :mod:`benchmarks.worker`; a context, at whose end it ends.

    Raises:
        RuntimeError: it has ended; what it said is on stderr.
    """

    def __init__(self, arguments: Sequence[object], env: Mapping[str, str]) -> None:
        self._said = " ".join(str(a) for a in arguments)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=dict(env),
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def wait_until_ready(self) -> None:
        """It starts in the background; now it has to be there."""
        self._answer()

    def ask(self, line: str) -> Any:
        """The answer to a line."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker has ended: {self._said}")
        return json.loads(line)


@dataclass(frozen=True)
class Variant:
    """What a worker computes, see :mod:`benchmarks.worker`.

    Attributes:
        kind: ``published``, ``plain``, ``ours`` or ``convolutions``.
        model: name or file.
        backend: of ``ours`` and ``convolutions``.
        precision: of these too.
        batch: slices at once.
        threads: of the CPU.
    """

    kind: Literal["published", "plain", "ours", "convolutions"]
    model: str = ""
    backend: str = "torch"
    precision: str = "fp32"
    batch: int = 1
    threads: int = 2

    def arguments(self, image: Path) -> list[str]:
        """Of the worker."""
        return [
            *(self.kind, self.model, "--image", str(image), "--backend", self.backend),
            *("--precision", self.precision, "--batch", str(self.batch)),
            *("--threads", str(self.threads)),
        ]


@dataclass(frozen=True)
class Timed:
    """What a worker said.

    Attributes:
        seconds: by thing that it does, then by round.
        flop: floating point operations of each thing.
    """

    seconds: tuple[tuple[float, ...], ...]
    flop: tuple[int, ...]

    @property
    def fastest(self) -> float:
        """GFLOP/s of the fastest thing in its fastest round."""
        best = (flop / min(s) for flop, s in zip(self.flop, self.seconds, strict=True))
        return max(best) / 1e9


def interleaved(
    variants: Iterable[Variant],
    image: Path,
    rounds: Rounds,
    env: Mapping[str, str],
    save: Mapping[Variant, Path] | None = None,
) -> dict[Variant, Timed]:
    """Let each variant run once in every round, one at a time, in a process of its own.

    Args:
        variants: what takes turns.
        image: file of the slices.
        rounds: how many.
        env: environment of the processes.
        save: where the results of some are to be kept.
    """
    with ExitStack() as stack:
        running = {
            variant: stack.enter_context(Worker(variant.arguments(image), env))
            for variant in variants
        }
        for worker in running.values():
            worker.wait_until_ready()
        for variant, path in (save or {}).items():
            running[variant].ask(f"save {path}")
        said: dict[Variant, list[list[float]]] = {variant: [] for variant in running}
        for number in range(rounds.warm_up + rounds.measured):
            for variant, worker in running.items():
                seconds = worker.ask("run")
                if number >= rounds.warm_up:
                    said[variant].append(seconds)
        flop = {variant: tuple(worker.ask("flop")) for variant, worker in running.items()}
    return {v: Timed(tuple(zip(*said[v], strict=True)), flop[v]) for v in running}
