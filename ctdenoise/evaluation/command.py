"""``ctdenoise evaluate``: the grid, its table, its summary and its page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ctdenoise import __version__
from ctdenoise.derived.atomic import atomic_file
from ctdenoise.errors import CTDenoiseError
from ctdenoise.evaluation.grid import Grid, evaluate, held_out
from ctdenoise.evaluation.images import Reference, references
from ctdenoise.evaluation.methods import parse_method
from ctdenoise.evaluation.noises import AS_IS, PAIR, PAPER_WINDOW, Noise
from ctdenoise.evaluation.pairs import pairs
from ctdenoise.evaluation.phantom import LEAST_SCANS, Phantom
from ctdenoise.evaluation.report import write_report
from ctdenoise.evaluation.summary import NOISY, markdown
from ctdenoise.evaluation.table import FAILED, FIGURES, Row, note_settings
from ctdenoise.hounsfield import HUWindow
from ctdenoise.progress import Progress
from ctdenoise.series.model import spread

Protocol = Literal["paper-ct"]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a user may choose.

    Attributes:
        inputs: photographs, or CT that serves as truth; with ``reference``, the noisy side.
        reference: the other side of a real pair.
        noises: as ``NAME:STRENGTH``.
        methods: names, see :func:`~ctdenoise.evaluation.methods.parse_method`.
        seeds: of each noise.
        slices: of each CT series; None takes all.
        validation: what classical methods are tuned on; empty takes every ``tune_every``-th input.
        tune_every: see there; 0 tunes on nothing.
        phantom: scans of the phantom, with lesions and as many without; 0 for no phantom.
        window: HU that are [0, 1] to models; None matches the noise.
        protocol: ``paper-ct`` judges as the paper's CT test does.
    """

    inputs: Sequence[Path]
    reference: Path | None = None
    noises: Sequence[str] = ()
    methods: Sequence[str] = ()
    seeds: int = 1
    slices: int | None = None
    validation: Sequence[Path] = ()
    tune_every: int = 5
    phantom: int = 20
    window: HUWindow | None = None
    protocol: Protocol | None = None


def run_evaluation(
    settings: Evaluation, output: Path, *, threads: int, overwrite: bool, progress: Progress
) -> int:
    """Evaluate, write ``figures.csv``, ``summary.md`` and ``report.html``, say the summary.

    Returns:
        0, or 1 where something is a gap.

    Raises:
        CTDenoiseError: the input, a noise or a method is not there, or the output folder holds
            the figures of something else.
    """
    grid = make_grid(settings)
    note = {
        "version": __version__,
        "images": [[r.group, r.name, r.identity[:64]] for r in grid.judged],
        "tuned_on": [[r.group, r.name, r.identity[:64]] for r in grid.validation],
        "seeds": settings.seeds,
        "phantom_scans": grid.phantom.scans if grid.phantom else 0,
        "window": str(_window(settings)),
    }
    weights = {method.name: method.digest for method in grid.methods if method.digest}
    note_settings(output, note, weights, overwrite=overwrite)
    rows = evaluate(grid, output, progress, threads)
    write_results(output, grid, rows, settings.protocol)
    print((output / "summary.md").read_text(encoding="utf-8"))
    progress.say(f"{FIGURES}, summary.md and report.html are written")
    if all(row.metric == FAILED for row in rows):
        raise CTDenoiseError(f"nothing could be judged: {rows[0].where}")
    return 1 if any(row.metric == FAILED for row in rows) else 0


def make_grid(settings: Evaluation) -> Grid:
    """The grid that settings ask for.

    Raises:
        CTDenoiseError: something of it is not there, or does not go together.
    """
    judged = _images(settings)
    if settings.reference is None:
        noises = [Noise.parse(text) for text in settings.noises]
    else:
        noises = [Noise(PAIR)]
    if not settings.methods:
        raise CTDenoiseError("give --methods")
    # What is done is told by what was: the noisy image itself is always judged.
    names = dict.fromkeys([*settings.methods, NOISY])
    methods = [parse_method(text, _window(settings)) for text in names]
    if len({method.name for method in methods}) < len(methods):
        raise CTDenoiseError("two of the methods have the same name")
    validation: list[Reference] = []
    if any(len(method.settings) > 1 for method in methods):
        if settings.validation:
            validation = _others(settings, judged)
        else:
            judged, validation = held_out(judged, settings.tune_every)
    return Grid(
        judged=judged,
        validation=validation,
        noises=noises,
        seeds=range(settings.seeds),
        methods=methods,
        phantom=_phantom(settings, judged, noises),
    )


def write_results(output: Path, grid: Grid, rows: Sequence[Row], protocol: Protocol | None) -> None:
    """Write ``summary.md`` and ``report.html``."""
    with atomic_file(output / "summary.md") as partial:
        partial.write_text(markdown(rows, paper=protocol is not None), encoding="utf-8")
    write_report(output / "report.html", grid, rows, paper=protocol is not None)


def _images(settings: Evaluation) -> list[Reference]:
    if settings.reference is None:
        if not settings.noises:
            raise CTDenoiseError("give --noise, or --reference for a real pair")
        return references(settings.inputs, slices=settings.slices)
    if len(settings.inputs) != 1 or settings.noises:
        raise CTDenoiseError("--reference goes with one --input and without --noise")
    if settings.validation:
        raise CTDenoiseError("--validation does not go with --reference: use --tune-every")
    images = pairs(settings.inputs[0], settings.reference)
    return [images[i] for i in spread(len(images), settings.slices or len(images))]


def _others(settings: Evaluation, judged: Sequence[Reference]) -> list[Reference]:
    """Images to tune on, none of which is judged."""
    validation = references(settings.validation, slices=settings.slices)
    known = {reference.identity for reference in judged}
    if any(reference.identity in known for reference in validation):
        raise CTDenoiseError("--validation holds images or series that are judged as well")
    return validation


def _phantom(
    settings: Evaluation, judged: Sequence[Reference], noises: Sequence[Noise]
) -> Phantom | None:
    ct = settings.reference is None and any(r.kind == "ct" for r in judged)
    wanted = ct and any(noise.name != AS_IS for noise in noises)
    if not settings.phantom or not wanted:
        return None
    if settings.phantom < LEAST_SCANS:
        raise CTDenoiseError(f"--phantom {settings.phantom}: give 0, or {LEAST_SCANS} and more")
    return Phantom(settings.phantom)


def _window(settings: Evaluation) -> HUWindow | None:
    return PAPER_WINDOW if settings.protocol == "paper-ct" else settings.window
