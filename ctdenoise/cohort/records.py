"""Reports of series and inputs below ``reports/``: what is finished is told by them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ctdenoise.cohort.job import Job, Outcome, Task
from ctdenoise.cohort.table import Row
from ctdenoise.derived.atomic import atomic_file
from ctdenoise.report import RunReport
from ctdenoise.run import series_folder
from ctdenoise.series import Series

REPORTS = "reports"


@dataclass
class CohortReport(RunReport):
    """A run's report of one series, with what tells whether it has to be done again.

    Attributes:
        key: of the job.
        source: digest of the images of the series.
        seconds: that it took.
        deaths: workers that died over it.
    """

    key: str = ""
    source: str = ""
    seconds: float = 0.0
    deaths: int = 0


class Records:
    """The reports of a job."""

    def __init__(self, job: Job) -> None:
        self.folder = job.output / REPORTS
        self._job = job
        self._key = job.key

    def finished(self, task: Task) -> Outcome | None:
        """What a task came to, if all of it was done before."""
        if isinstance(task.source, Series):
            row = self.finished_series(task, series_folder(task.source), digest(task.source))
            return None if row is None else Outcome(rows=(row,))
        known = _read(self._input(task.source))
        if known is None or known["key"] != self._key:
            return None
        rows = [self.finished_series(task, name) for name in known["series"]]
        done = tuple(row for row in rows if row is not None)
        if not rows or len(done) < len(rows):
            return None
        return Outcome(rows=done, left_out=known["left_out"], damaged=known["damaged"])

    def finished_series(self, task: Task, name: str, source: str | None = None) -> Row | None:
        """The row of a series that was done before.

        Args:
            task: that it is part of.
            name: of its folder.
            source: digest of its images, if they are known.
        """
        report = _read(self.folder / f"{name}.json")
        if report is None or report["key"] != self._key or source not in (None, report["source"]):
            return None
        (series,) = report["series"]
        kind = self._job.device.split(":")[0]
        if series["status"] != "done" or not (self._job.output / name).is_dir():
            return None
        if kind not in ("auto", series["settings"]["device"].split(":")[0]):
            return None
        return Row.of(report | {"deaths": 0}, name, input=task.name, id=task.id)

    def write_series(self, task: Task, name: str, report: CohortReport) -> Row:
        """Write the report of a series.

        Raises:
            OSError: it cannot be written.
        """
        report.key = self._key
        said = asdict(report)
        _write(self.folder / f"{name}.json", said)
        return Row.of(said, name, input=task.name, id=task.id)

    def write_input(self, source: Path, names: Sequence[str], outcome: Outcome) -> None:
        """Write which series are in an input.

        Raises:
            OSError: it cannot be written.
        """
        said = {
            "key": self._key,
            "series": list(names),
            "left_out": dict(outcome.left_out),
            "damaged": outcome.damaged,
        }
        _write(self._input(source), said)

    def _input(self, source: Path) -> Path:
        return self.folder / "inputs" / f"{input_name(source)}.json"


def input_name(source: Path) -> str:
    """A name of an input that does not say its path."""
    return f"input-{hashlib.sha256(str(source).encode()).hexdigest()[:16]}"


def digest(series: Series) -> str:
    """Digest of the images of a series: one that has got more of them is another one."""
    images = " ".join(f"{instance.uid}/{instance.frames}" for instance in series.instances)
    return hashlib.sha256(images.encode()).hexdigest()[:16]


def _read(path: Path) -> dict[str, Any] | None:
    """A report; None if there is none that can be read."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) and "key" in report else None


def _write(path: Path, report: dict[str, Any]) -> None:
    """Write a report, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
