"""``ctdenoise evaluate``: the grid, its table, its summary and its page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ctdenoise import __version__
from ctdenoise.derived.atomic import atomic_file
from ctdenoise.errors import CTDenoiseError
from ctdenoise.evaluation.grid import FAILED, FIGURES, Grid, evaluate, note_settings
from ctdenoise.evaluation.images import PAIR, Noise, pairs, references
from ctdenoise.evaluation.methods import parse_method
from ctdenoise.evaluation.report import write_report
from ctdenoise.evaluation.summary import markdown
from ctdenoise.progress import Progress
from ctdenoise.series.model import spread


def run_evaluation(
    inputs: Sequence[Path],
    output: Path,
    *,
    reference: Path | None,
    noises: Sequence[str],
    methods: Sequence[str],
    seeds: int,
    slices: int | None,
    tune_every: int,
    threads: int,
    overwrite: bool,
    progress: Progress,
) -> int:
    """Evaluate, write ``figures.csv``, ``summary.md`` and ``report.html``, say the summary.

    Returns:
        0, or 1 where something is a gap.

    Raises:
        CTDenoiseError: the input, a noise or a method is not there, or the output folder holds
            the figures of something else.
    """
    if reference is None:
        if not noises:
            raise CTDenoiseError("give --noise, or --reference for a real pair")
        images = references(inputs, slices=slices)
        wanted = [Noise.parse(text) for text in noises]
    else:
        if len(inputs) != 1 or noises:
            raise CTDenoiseError("--reference goes with one --input and without --noise")
        images = pairs(inputs[0], reference)
        if slices:
            images = [images[i] for i in spread(len(images), slices)]
        wanted = [Noise(PAIR, 0.0)]
    if not methods:
        raise CTDenoiseError("give --methods")
    chosen = [parse_method(text) for text in methods]
    if len({method.name for method in chosen}) < len(chosen):
        raise CTDenoiseError("two of the methods have the same name")
    grid = Grid(images, wanted, range(seeds), chosen, tune_every)
    grid_note = {
        "version": __version__,
        "images": [[r.group, r.name, r.identity[:64]] for r in grid.judged],
        "tuned_on": [[r.group, r.name] for r in grid.validation],
        "seeds": seeds,
    }
    note_settings(output, grid_note, overwrite=overwrite)
    rows = evaluate(grid, output, progress, threads)
    summary = markdown(rows)
    with atomic_file(output / "summary.md") as partial:
        partial.write_text(summary, encoding="utf-8")
    write_report(output / "report.html", grid, rows)
    print(summary)
    progress.say(f"{output / FIGURES}, summary.md and report.html are written")
    if all(row.metric == FAILED for row in rows):
        raise CTDenoiseError(f"nothing could be judged: {rows[0].where}")
    return 1 if any(row.metric == FAILED for row in rows) else 0
