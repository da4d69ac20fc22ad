"""A whole cohort: inputs, workers, table and summary."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ctdenoise.cohort.cluster import connect
from ctdenoise.cohort.driver import Driver, Tally
from ctdenoise.cohort.inputs import read_inputs
from ctdenoise.cohort.job import Job
from ctdenoise.cohort.records import Records
from ctdenoise.cohort.summary import SUMMARY, write_summary
from ctdenoise.cohort.table import CSV, open_table, write_parquet
from ctdenoise.derived.atomic import create_folder
from ctdenoise.errors import CTDenoiseError
from ctdenoise.progress import Progress


def run_cohort(
    source: Path,
    job: Job,
    *,
    scheduler: str,
    workers: int,
    gpus: Sequence[str],
    retries: int,
    progress: Progress,
) -> int:
    """Denoise every series of a cohort, but for those that are done; returns the exit code.

    Args:
        source: a folder of series, a manifest, or another input of a run.
        job: what is done with each series.
        scheduler: ``local``, or an address.
        workers: to start, or to expect.
        gpus: of this machine, for workers of our own.
        retries: of a task whose failure may be of the moment.
        progress: is told of tasks and problems.

    Raises:
        CTDenoiseError: there is nothing to do, the output cannot be written, or there is no
            scheduler, or no worker that can do it.
    """
    inputs = read_inputs(source, job.output)
    create_folder(job.output)
    begin = time.monotonic()
    records = Records(job)
    earlier = [records.finished(task) for task in inputs.tasks]
    known = [outcome for outcome in earlier if outcome is not None]
    todo = [task for task, outcome in zip(inputs.tasks, earlier, strict=True) if outcome is None]
    if known:
        progress.say(f"{len(known)} of {len(earlier)} inputs are done by their reports")
    with ExitStack() as stack:
        # Workers first: without them, the table of an earlier run stays.
        cluster = stack.enter_context(connect(scheduler, job, workers, gpus)) if todo else None
        tally = Tally(stack.enter_context(open_table(job.output)), progress)
        for outcome in (inputs.known, *known):
            tally.add(outcome)
        if cluster is not None:
            progress.start("cohort", len(todo), unit="input")
            stack.callback(progress.finish)
            Driver(cluster, tally, tries=retries + 1, workers=workers).run(todo)
    _conclude(job.output, tally, time.monotonic() - begin)
    return tally.exit_code


def _conclude(output: Path, tally: Tally, seconds: float) -> None:
    for reason, count in sorted(tally.left_out.items()):
        tally.progress.say(f"left out {count} files: {reason}")
    rows = tally.table.rows
    try:
        write_parquet(output, rows)
        write_summary(output, rows, tally.left_out, seconds)
    except OSError as error:
        raise CTDenoiseError(f"{output}: cannot be written: {error.strerror}") from None
    done = sum(row.status == "done" for row in rows)
    fresh = sum(row.tries > 0 and row.status == "done" for row in rows)
    tally.progress.say(
        f"cohort: {done} of {len(rows)} done, {fresh} of them now, "
        f"{60 * fresh / max(seconds, 1e-9):.1f} series a minute; see {CSV} and {SUMMARY}"
    )
