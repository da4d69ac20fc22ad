"""The grid of images, noises, seeds and methods, and the file that its figures go to."""

from __future__ import annotations

import csv
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import astuple, dataclass, fields
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ctdenoise.derived.atomic import atomic_file, create_folder
from ctdenoise.errors import CTDenoiseError, one_line
from ctdenoise.evaluation.images import Noise, Reference
from ctdenoise.evaluation.methods import Method, Seen
from ctdenoise.evaluation.metrics import Figure, figures
from ctdenoise.hounsfield import HU, Mask, tissue_masks
from ctdenoise.progress import Progress

_Result = TypeVar("_Result")

FIGURES = "figures.csv"
SETTINGS = "evaluation.json"
FAILED = "failed"
_LAST = "seconds"
"""The last figure of a method on an image: without it, the method did not finish there."""


@dataclass(frozen=True)
class Row:
    """One line of the tidy table."""

    image: str
    group: str
    kind: str
    noise: str
    seed: int
    method: str
    setting: float
    metric: str
    where: str
    value: float
    unit: str

    @property
    def key(self) -> tuple[str, str, str, int, str]:
        """What was denoised, and by what."""
        return self.image, self.group, self.noise, self.seed, self.method


@dataclass(frozen=True)
class Grid:
    """What is evaluated.

    Attributes:
        references: images.
        noises: put into each.
        seeds: of each noise.
        methods: judged.
        tune_every: each such image is for tuning alone, and not judged; 0 judges all, and
            classical methods keep the middle one of their settings.
    """

    references: Sequence[Reference]
    noises: Sequence[Noise]
    seeds: Sequence[int]
    methods: Sequence[Method]
    tune_every: int

    @property
    def validation(self) -> list[Reference]:
        """Images that classical methods are tuned on."""
        if not self.tune_every or all(len(method.settings) == 1 for method in self.methods):
            return []
        return list(self.references[:: self.tune_every])

    @property
    def judged(self) -> list[Reference]:
        """Images that figures are of.

        Raises:
            CTDenoiseError: all images are for tuning.
        """
        held = {(r.group, r.name) for r in self.validation}
        judged = [r for r in self.references if (r.group, r.name) not in held]
        if not judged:
            raise CTDenoiseError(
                f"{len(self.references)} images: none is left to judge after tuning the classical "
                "methods; give more images, or --tune-every 0"
            )
        return judged


def evaluate(grid: Grid, output: Path, progress: Progress, threads: int) -> list[Row]:
    """Fill the table in ``output``, and give its rows; what it holds already is not done again.

    An image or a method that fails leaves a row ``failed``, and the rest goes on.
    """
    rows = read_rows(output / FIGURES)
    done = {row.key for row in rows}
    wanted, todo = set(), []
    for noise, reference, seed in product(grid.noises, grid.judged, grid.seeds):
        keys = {
            m: (reference.name, reference.group, str(noise), seed, m.name) for m in grid.methods
        }
        wanted |= set(keys.values())
        missing = [method for method, key in keys.items() if key not in done]
        if missing:
            todo.append((reference, noise, seed, missing))
    if todo:
        needing = {method.name for *_, missing in todo for method in missing}
        settings = _tune(grid, [m for m in grid.methods if m.name in needing], progress, threads)
        with _Table(output / FIGURES, rows) as table:
            jobs = [(*job, settings) for job in todo]
            for made in _in_parallel("evaluation", _judge, jobs, progress, threads):
                table.add(made)
                rows += made
                for row in made:
                    if row.metric == FAILED:
                        progress.say(f"{row.image}, {row.noise}, {row.method}: {row.where}")
    return [row for row in rows if row.key in wanted]


def _in_parallel(
    what: str,
    function: Callable[..., _Result],
    jobs: Sequence[tuple[Any, ...]],
    progress: Progress,
    threads: int,
) -> Iterator[_Result]:
    """Results of all jobs, as they come."""
    progress.start(what, len(jobs))
    with ThreadPoolExecutor(threads) as pool:
        try:
            for future in as_completed([pool.submit(function, *job) for job in jobs]):
                yield future.result()
                progress.advance(1)
        finally:
            pool.shutdown(cancel_futures=True)
            progress.finish()


def note_settings(output: Path, settings: dict[str, Any], *, overwrite: bool) -> None:
    """Write what is evaluated, or make sure that an earlier run had the same in mind.

    Raises:
        CTDenoiseError: the folder holds the figures of something else.
    """
    path = output / SETTINGS
    if path.exists() and not overwrite and json.loads(path.read_text("utf-8")) != settings:
        raise CTDenoiseError(
            f"{output}: holds figures of other images or seeds; use --overwrite or another --output"
        )
    create_folder(output)
    if overwrite:
        (output / FIGURES).unlink(missing_ok=True)
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def read_rows(path: Path) -> list[Row]:
    """Rows of what an earlier run has finished; what failed then is tried again.

    Raises:
        CTDenoiseError: the file is no table of ours.
    """
    if not path.exists():
        return []
    names = [field.name for field in fields(Row)]
    rows = []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        if next(reader, None) != names:
            raise CTDenoiseError(f"{path}: is not a table of ctdenoise evaluate")
        for values in reader:
            if len(values) != len(names):  # the run was killed while it wrote
                continue
            got = dict(zip(names, values, strict=True))
            numbers = {"seed": int(got["seed"]), "setting": float(got["setting"])}
            rows.append(Row(**(got | numbers | {"value": float(got["value"])})))  # type: ignore[arg-type]
    finished = {row.key for row in rows if row.metric == _LAST}
    return [row for row in rows if row.key in finished]


class _Table:
    """The tidy table; begins with what was finished."""

    def __init__(self, path: Path, rows: Sequence[Row]) -> None:
        with atomic_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow([field.name for field in fields(Row)])
            writer.writerows(astuple(row) for row in rows)
        self._file = path.open("a", newline="", encoding="utf-8")
        self._lock = threading.Lock()

    def __enter__(self) -> _Table:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, rows: Sequence[Row]) -> None:
        with self._lock:
            csv.writer(self._file).writerows(astuple(row) for row in rows)
            self._file.flush()
            os.fsync(self._file.fileno())


def noisy_image(reference: Reference, noise: Noise, seed: int) -> tuple[HU, Mask, Seen]:
    """The reference, its padding, and what a method sees of it.

    Raises:
        CTDenoiseError: the image cannot be read, holds nothing, or does not go with the noise.
    """
    image, padding = reference.load()
    if padding.all() or np.ptp(image[~padding]) == 0:
        raise CTDenoiseError("is constant or empty: there is nothing to judge")
    noisy = reference.noisy(image, padding, noise, seed)
    if noisy.shape != image.shape:
        raise CTDenoiseError("the noisy image has another size than the reference")
    return image, padding, Seen(noisy, padding, reference.kind, noisy - image)


def _judge(
    reference: Reference,
    noise: Noise,
    seed: int,
    methods: Sequence[Method],
    settings: dict[tuple[str, str, str], float],
) -> list[Row]:
    def row(method: Method, figure: Figure, setting: float) -> Row:
        return Row(
            reference.name,
            reference.group,
            reference.kind,
            str(noise),
            seed,
            method.name,
            setting,
            figure.metric,
            figure.where,
            figure.value,
            figure.unit,
        )

    try:
        image, padding, seen = noisy_image(reference, noise, seed)
    except Exception as error:  # one image does not stop the others
        return [row(m, Figure(FAILED, _said(error), float("nan")), 0.0) for m in methods]
    rows = []
    for method in methods:
        setting = settings.get((method.name, reference.kind, str(noise)), _middle(method))
        started = time.perf_counter()
        try:
            denoised = method.function(seen, setting)
            seconds = time.perf_counter() - started
            if not np.isfinite(denoised).all():
                raise CTDenoiseError("gave values that are no numbers")
            found = figures(reference.kind, image, padding, seen.noisy, denoised, reference.spacing)
        except Exception as error:  # a method of any origin does not stop the others
            rows.append(row(method, Figure(FAILED, _said(error), float("nan")), setting))
            continue
        found.append(Figure(_LAST, "all", seconds, "s"))
        rows += [row(method, figure, setting) for figure in found]
    return rows


def _tune(
    grid: Grid, methods: Sequence[Method], progress: Progress, threads: int
) -> dict[tuple[str, str, str], float]:
    """The best setting of each method for each kind of image and noise, on the validation."""
    tunable = [method for method in methods if len(method.settings) > 1]
    jobs = [(r, n, grid.seeds[0], tunable) for n in grid.noises for r in grid.validation]
    if not tunable or not jobs:
        return {}
    errors: dict[tuple[str, str, str], list[list[float]]] = {}
    for made in _in_parallel("tuning", _errors, jobs, progress, threads):
        for key, found in made.items():
            errors.setdefault(key, []).append(found)
    by_name = {method.name: method for method in tunable}
    return {
        key: by_name[key[0]].settings[int(np.argmin(np.mean(found, axis=0)))]
        for key, found in errors.items()
    }


def _errors(
    reference: Reference, noise: Noise, seed: int, methods: Sequence[Method]
) -> dict[tuple[str, str, str], list[float]]:
    """Mean squared error of each setting, by method, kind and noise.

    Of CT it is in soft tissue, of a photograph over all pixels.
    """
    try:
        image, padding, seen = noisy_image(reference, noise, seed)
    except Exception:  # it is a gap where it is judged, or says so nowhere: it tunes nothing
        return {}
    mask = np.ones(image.shape, dtype=np.bool_)
    if reference.kind == "ct":
        soft = tissue_masks(image, padding)["fat_and_soft_tissue"]
        mask = soft if soft.any() else ~padding
    scale = float(np.mean(seen.truth[mask] ** 2)) or 1.0

    def error(method: Method, setting: float) -> float:
        try:
            found = float(np.mean((method.function(seen, setting) - image)[mask] ** 2)) / scale
        except Exception:  # as above
            return float("inf")
        return found if np.isfinite(found) else float("inf")

    kind, said = reference.kind, str(noise)
    return {(m.name, kind, said): [error(m, s) for s in m.settings] for m in methods}


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, CTDenoiseError) else one_line(error)


def _middle(method: Method) -> float:
    return method.settings[len(method.settings) // 2]


def by_metric(rows: Sequence[Row], metric: str, where: str) -> Iterator[Row]:
    """Rows of one figure."""
    return (row for row in rows if row.metric == metric and row.where == where)
