"""The grid of images, noises, seeds and methods, filled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from ctdenoise.errors import CTDenoiseError, unforeseen
from ctdenoise.evaluation.images import Reference
from ctdenoise.evaluation.methods import Method
from ctdenoise.evaluation.metrics import Figure
from ctdenoise.evaluation.noises import AS_IS, Noise
from ctdenoise.evaluation.parallel import in_parallel
from ctdenoise.evaluation.phantom import Phantom
from ctdenoise.evaluation.subjects import ImageSubject, PhantomSubject, Subject
from ctdenoise.evaluation.table import FAILED, FIGURES, Key, Row, Table, read_rows
from ctdenoise.evaluation.tuning import Settings, setting_of, tune
from ctdenoise.progress import Progress


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What is evaluated.

    Attributes:
        judged: images that figures are of.
        validation: images that classical methods are tuned on; none of them is judged.
        noises: put into each.
        seeds: of each noise.
        methods: judged.
        phantom: scanned as well with each noise; None for none.
    """

    judged: Sequence[Reference]
    validation: Sequence[Reference]
    noises: Sequence[Noise]
    seeds: Sequence[int]
    methods: Sequence[Method]
    phantom: Phantom | None = None


def held_out(
    references: Sequence[Reference], every: int
) -> tuple[list[Reference], list[Reference]]:
    """Images to judge, and each ``every``-th one to tune on; 0 holds nothing out.

    Raises:
        CTDenoiseError: none is left to judge.
    """
    validation = list(references[::every]) if every else []
    held = {(r.group, r.name) for r in validation}
    judged = [r for r in references if (r.group, r.name) not in held]
    if not judged:
        raise CTDenoiseError(
            f"{len(references)} images: none is left to judge after tuning the classical methods; "
            "give more images, --validation PATH, or --tune-every 0"
        )
    return judged, validation


def evaluate(grid: Grid, output: Path, progress: Progress, threads: int) -> list[Row]:
    """Fill the table in ``output``, and give its rows; what it holds already is not done again.

    An image or a method that fails leaves a row ``failed``, and the rest goes on.
    """
    rows = read_rows(output / FIGURES)
    done = {row.key for row in rows}
    jobs = _jobs(grid)
    todo = []
    for job in jobs:
        missing = [method for method in job.methods if job.key(method) not in done]
        if missing:
            todo.append(replace(job, methods=missing))
    if todo:
        needing = {method.name for job in todo for method in job.methods}
        settings = tune(
            [m for m in grid.methods if m.name in needing],
            grid.validation,
            grid.noises,
            grid.seeds[0],
            progress,
            threads,
            _settings_of(rows, jobs),
        )
        with Table(output / FIGURES, rows) as table:
            work = [(job, settings) for job in todo]
            for made in in_parallel("evaluation", _judge, work, progress, threads):
                table.add(made)
                rows += made
                for row in made:
                    if row.metric == FAILED:
                        progress.say(f"{row.image}, {row.noise}, {row.method}: {row.where}")
    wanted = {job.key(method) for job in jobs for method in job.methods}
    return [row for row in rows if row.key in wanted]


@dataclass(frozen=True)
class _Job:
    """A subject with a noise, for methods."""

    subject: Subject
    noise: Noise
    seed: int
    methods: Sequence[Method]

    def key(self, method: Method) -> Key:
        return self.subject.name, self.subject.group, str(self.noise), self.seed, method.name

    def row(self, method: Method, figure: Figure, setting: float) -> Row:
        return Row(
            self.subject.name,
            self.subject.group,
            self.subject.kind,
            str(self.noise),
            self.seed,
            method.name,
            setting,
            figure.metric,
            figure.where,
            figure.at,
            figure.value,
            figure.unit,
        )

    def gap(self, method: Method, setting: float, error: Exception) -> Row:
        said = str(error) if isinstance(error, CTDenoiseError) else unforeseen(error)
        return self.row(method, Figure(FAILED, said, float("nan")), setting)


def _jobs(grid: Grid) -> list[_Job]:
    jobs = [
        _Job(ImageSubject(reference), noise, seed, grid.methods)
        for noise, reference, seed in product(grid.noises, grid.judged, grid.seeds)
    ]
    if grid.phantom is None:
        return jobs
    phantom = PhantomSubject(grid.phantom)
    # First, as they are the longest; a job for each method.
    return [
        _Job(phantom, noise, 0, [method])
        for noise in grid.noises
        if noise.name != AS_IS
        for method in grid.methods
    ] + jobs


def _settings_of(rows: Sequence[Row], jobs: Sequence[_Job]) -> Settings:
    """What an earlier run has tuned: it is in its rows."""
    tuned_as = {job.subject.name: job.subject.tuned_as for job in jobs}
    return {
        (row.method, tuned_as[row.image], row.noise): row.setting
        for row in rows
        if row.metric != FAILED and row.image in tuned_as
    }


def _judge(job: _Job, settings: Settings) -> list[Row]:
    try:
        judge = job.subject.judge(job.noise, job.seed)
    except Exception as error:  # one image does not stop the others
        return [job.gap(method, 0.0, error) for method in job.methods]
    rows = []
    for method in job.methods:
        setting = setting_of(settings, method, job.subject.tuned_as, job.noise)
        try:
            found = judge(method, setting)
        except Exception as error:  # a method of any origin does not stop the others
            rows.append(job.gap(method, setting, error))
            continue
        rows += [job.row(method, figure, setting) for figure in found]
    return rows
