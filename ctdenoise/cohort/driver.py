"""From tasks to the table: few at a time, those that fail again and later."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from ctdenoise.cohort.cluster import LOCAL, Cluster
from ctdenoise.cohort.job import Outcome, Task
from ctdenoise.cohort.table import Table
from ctdenoise.errors import CTDenoiseError
from ctdenoise.progress import Progress

AHEAD = 4
"""Tasks a worker that the scheduler knows of: enough for none to wait, few enough for it."""

_WAIT_SECONDS = 5.0
_NO_WORKER_SECONDS = 60.0
_SAY_SECONDS = 10.0


@dataclass
class Tally:
    """Takes outcomes that are final.

    Attributes:
        table: gets their rows.
        progress: is told of them.
        left_out: files that take no part, by reason.
        damaged: files among them that should have taken part.
    """

    table: Table
    progress: Progress
    left_out: Counter[str] = field(default_factory=Counter)
    damaged: int = 0

    def add(self, outcome: Outcome, tries: int = 0) -> None:
        """Take one; ``tries`` is 0 for what an earlier run has done."""
        self.left_out.update(outcome.left_out)
        self.damaged += outcome.damaged
        for row in outcome.rows:
            self.table.add(replace(row, tries=tries))
            what = row.input if row.folder in ("", row.input) else f"{row.input}, {row.folder}"
            if row.reason:
                self.progress.problem(f"{what}: {row.status}: {row.reason}")
            else:
                self.progress.detail(f"{what}: {row.status}")

    @property
    def exit_code(self) -> int:
        """0 all done, 1 some series failed or were refused, 2 nothing usable."""
        rows = self.table.rows
        if not any(row.series_uid for row in rows):
            return 2
        return 1 if self.damaged or any(row.status != "done" for row in rows) else 0


class Driver:
    """Has tasks done by the workers of a cluster.

    Args:
        cluster: of workers.
        tally: takes the outcomes.
        tries: how often a task is tried whose failure may be of the moment.
        workers: that are expected: so many are kept busy, or more if more are there.
    """

    def __init__(self, cluster: Cluster, tally: Tally, *, tries: int, workers: int) -> None:
        self._cluster = cluster
        self._tally = tally
        self._progress = tally.progress
        self._tries = tries
        self._expected = workers
        self._flying: dict[Any, tuple[Task, int]] = {}
        self._waiting: deque[tuple[Task, int]] = deque()
        self._last_seen, self._said = time.monotonic(), False

    def run(self, tasks: Iterable[Task]) -> None:
        """Do tasks.

        Raises:
            CTDenoiseError: there are no workers any more, or no scheduler.
        """
        self._waiting.extend((task, 1) for task in tasks)
        self._dismiss(self._cluster.unfit())
        while self._waiting or self._flying:
            room = AHEAD * max(self._workers(), self._expected)
            while self._waiting and len(self._flying) < room:
                task, number = self._waiting.popleft()
                self._flying[self._cluster.submit(task)] = task, number
            for future in self._cluster.finished(list(self._flying), _WAIT_SECONDS):
                self._land(future)

    def _land(self, future: Any) -> None:
        task, number = self._flying[future]
        told = self._cluster.outcome(task, future)
        if told is None:
            return
        del self._flying[future]
        worker, outcome = told
        if outcome.unfit is not None:
            self._dismiss({worker: outcome.unfit})
            self._waiting.appendleft((task, number))
        elif outcome.again and number < self._tries:
            reasons = {row.reason for row in outcome.rows if row.status == "failed"}
            self._progress.detail(f"{task.name}: once more: {'; '.join(sorted(reasons))}")
            self._waiting.append((task, number + 1))
        else:
            self._tally.add(outcome, number)
            self._progress.advance(1)

    def _dismiss(self, unfit: dict[str, str]) -> None:
        for address, why in unfit.items():
            self._progress.problem(f"worker {address} is left out: {why}")
            self._cluster.dismiss(address)

    def _workers(self) -> int:
        """How many there are; without any, it waits for those that join a scheduler."""
        count = self._cluster.workers()
        now = time.monotonic()
        if count:
            self._last_seen, self._said = now, False
        elif self._cluster.address == LOCAL:
            if now - self._last_seen > _NO_WORKER_SECONDS:
                raise CTDenoiseError(
                    "no worker is left; what is finished is kept, run again to go on"
                )
        elif not self._said and now - self._last_seen > _SAY_SECONDS:
            self._said = True
            self._progress.say(f"waiting for workers to join {self._cluster.address}")
        return count
