"""Progress by slice: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Literal

from tqdm import tqdm

Verbosity = Literal["quiet", "normal", "verbose"]


class Progress:
    """Says on standard error what is going on."""

    def __init__(self, verbosity: Verbosity = "normal") -> None:
        self._verbosity = verbosity
        self._terminal = sys.stderr.isatty() and verbosity != "quiet"
        self._bar: tqdm | None = None

    def start(self, what: str, slices: int, unit: str = "slice") -> None:
        """A series begins, or other work that is counted in ``unit``."""
        self._what, self._slices, self._done, self._unit = what, slices, 0, unit
        self._started = self._said = time.monotonic()
        if self._terminal:
            self._bar = tqdm(total=slices, desc=what, unit=unit, file=sys.stderr, leave=False)
        else:
            self.say(f"{what}: {slices} {unit}s")

    def advance(self, slices: int) -> None:
        """Slices are done."""
        if slices == 0:
            return
        self._done += slices
        if self._bar is not None:
            self._bar.update(slices)
            return
        now = time.monotonic()
        if now - self._said >= 30.0 and self._done < self._slices:
            self._said = now
            left = (now - self._started) / self._done * (self._slices - self._done)
            done = f"{self._done} of {self._slices} {self._unit}s"
            self.say(f"{self._what}: {done}, {left:.0f} s left")

    def finish(self) -> None:
        """The series has ended, well or not."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def say(self, line: str) -> None:
        """A line for everyone but the quiet."""
        if self._verbosity != "quiet":
            self._print(line)

    def detail(self, line: str) -> None:
        """A line for the verbose."""
        if self._verbosity == "verbose":
            self._print(line)

    def problem(self, line: str) -> None:
        """A line for everyone."""
        self._print(line)

    def _print(self, line: str) -> None:
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        else:
            print(line, file=sys.stderr, flush=True)
