"""What a worker does with a task: the same as a run, with a report for each series."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ctdenoise.cohort.claims import claimed
from ctdenoise.cohort.job import Job, Outcome, Task
from ctdenoise.cohort.privacy import count_reasons, without_paths
from ctdenoise.cohort.records import CohortReport, Records, digest, input_name
from ctdenoise.cohort.table import Row
from ctdenoise.denoiser import Denoiser
from ctdenoise.errors import CTDenoiseError, unforeseen
from ctdenoise.progress import Progress
from ctdenoise.report import SeriesReport
from ctdenoise.run import run_series, series_folder
from ctdenoise.series import Found, Series, find
from ctdenoise.unpacked import is_zip, unpacked


class Work:
    """Does tasks of a job with a denoiser that is loaded."""

    def __init__(self, job: Job, denoiser: Denoiser) -> None:
        self._job = job
        self._denoiser = denoiser
        self._records = Records(job)
        self._model = {
            "name": denoiser.card.name,
            "sha256": denoiser.digest,
            "training_noise": denoiser.card.training_noise,
        }

    def __call__(self, task: Task) -> Outcome:
        """Do a task, unless it is done; it raises nothing."""
        try:
            if isinstance(task.source, Series):
                row = self._series(task, task.source)
                return Outcome(rows=(row,), again=self._may_go_well(row))
            return self._input(task, task.source)
        except CTDenoiseError as error:
            return _nothing(task, "refused", str(error))
        except Exception as error:  # a storage that is away, or a fault of ours
            return replace(_nothing(task, "failed", f"unexpected {unforeseen(error)}"), again=True)

    def _input(self, task: Task, source: Path) -> Outcome:
        name = input_name(source)
        with claimed(self._records.folder, name, self._job.command) as claim:
            if claim.deaths >= self._job.deaths:
                return _nothing(task, "failed", _killed(claim.deaths), deaths=claim.deaths)
            with self._found(source, name) as found:
                # Workers that die from here on die of a series, which counts for itself.
                claim.survived()
                left_out = count_reasons(item.reason for item in found.left_out)
                if not found.series:
                    why = "; ".join(f"{count} files: {said}" for said, count in left_out.items())
                    return _nothing(task, "refused", f"no CT series to denoise ({why or 'empty'})")
                rows = tuple(self._series(task, series) for series in found.series)
            outcome = Outcome(
                rows=rows,
                left_out=left_out,
                damaged=sum(item.damaged for item in found.left_out),
                again=any(self._may_go_well(row) for row in rows),
            )
            self._records.write_input(source, [row.folder for row in rows], outcome)
            return outcome

    @contextmanager
    def _found(self, source: Path, name: str) -> Iterator[Found]:
        if not is_zip(source):
            yield find(source, without=self._job.output)
            return
        with unpacked(source, self._job.output, f"{name}-") as folder:
            yield find(folder)

    def _series(self, task: Task, series: Series) -> Row:
        name, source = series_folder(series), digest(series)
        with claimed(self._records.folder, name, self._job.command) as claim:
            earlier = self._records.finished_series(task, name, source)
            if earlier is not None:
                return earlier
            begin = time.perf_counter()
            if claim.deaths >= self._job.deaths:
                report = SeriesReport(source_series_uid=series.uid, slices=series.slices)
                report.reason = _killed(claim.deaths)
            else:
                report = run_series(
                    name, series, self._job.output, self._denoiser, self._job.settings, _Silent()
                )
            if report.reason:
                files = (instance.path for instance in series.instances)
                report.reason = without_paths(report.reason, files)
            whole = CohortReport(
                model=self._model,
                series=[report],
                source=source,
                seconds=time.perf_counter() - begin,
                deaths=claim.deaths,
            )
            return self._records.write_series(task, name, whole)

    def _may_go_well(self, row: Row) -> bool:
        """Another time: what is refused never will."""
        return row.status == "failed" and row.deaths < self._job.deaths


class _Silent(Progress):
    """Says nothing: what there is to say is in the outcome, without names of files."""

    def __init__(self) -> None:
        super().__init__("quiet")

    def _print(self, line: str) -> None:
        pass


def _killed(deaths: int) -> str:
    return f"killed its worker {f'{deaths} times' if deaths > 1 else 'once'}"


def _nothing(task: Task, status: str, reason: str, *, deaths: int = 0) -> Outcome:
    """The outcome of a task in which no series was come to."""
    if isinstance(task.source, Path):
        reason = without_paths(reason, [task.source])
    row = Row(input=task.name, id=task.id, status=status, reason=reason, deaths=deaths)
    return Outcome(rows=(row,))
