"""The claim, tested: docs/results.md, from the evaluations of configs/results.json.

    python -m pipelines.results --data DATA --output runs/results [--threads N] [--only NAME ...]

DATA holds the data sets that the configuration names. Each evaluation is a ``ctdenoise evaluate``
in a folder of its own, with its table and its page; what is there already is not done again.
``--more FILE`` adds a model to each.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ctdenoise import __version__
from ctdenoise.evaluation.command import Evaluation, run_evaluation
from ctdenoise.evaluation.methods import parse_method
from ctdenoise.evaluation.summary import Column, Mean, kinds_of, markdown, means, table_of
from ctdenoise.evaluation.table import FIGURES, Row, read_rows
from ctdenoise.progress import Progress
from pipelines.lcd_phantom import CHANNELS, TUNED_ON, phantom_table

ROOT = Path(__file__).resolve().parents[1]
OURS = "lite"
LCD = Path("ct/didsr_lcd_ct/fbp")
LCD_METHODS = ("identity", "lite", "nlm", "tv", "wavelet", "curvature-flow", "bm3d")


def evaluate(
    config: dict[str, Any], data: Path, output: Path, more: Sequence[str], threads: int
) -> list[Row]:
    """The rows of one evaluation, run as far as it is not there yet."""
    reference = config.get("reference")
    settings = Evaluation(
        inputs=[data / path for path in config["inputs"]],
        reference=data / reference if reference else None,
        noises=config.get("noises", []),
        methods=[*config["methods"], *more],
        slices=config.get("slices"),
        validation=[data / path for path in config.get("validation", [])],
        tune_every=config.get("tune_every", 0),
        phantom=config.get("phantom", 0),
    )
    run_evaluation(settings, output, threads=threads, overwrite=False, progress=Progress())
    return read_rows(output / FIGURES)


def verdicts(rows: Sequence[Row]) -> list[str]:
    """Where the embedded model is ahead, where it is not told apart, and where it is behind."""
    lines = ["| figure | noise | embedded model | best other | |", "|---|---|---|---|---|"]
    for kind in kinds_of(rows):
        for noise in dict.fromkeys(row.noise for row in rows if row.kind == kind):
            for column in table_of(kind, noise):
                if column.more is not None:
                    lines += _verdict(column, noise, means(rows, kind, noise, column))
    return lines


def _verdict(column: Column, noise: str, found: dict[str, Mean]) -> list[str]:
    others = {name: mean for name, mean in found.items() if name not in (OURS, "identity")}
    if OURS not in found or not others:
        return []
    ours, (name, best) = found[OURS], next(iter(others.items()))
    ahead = (ours.value > best.value) == column.more
    apart = ours.lower > best.upper or ours.upper < best.lower
    said = ("ahead" if ahead else "**behind**") + ("" if apart else ", intervals overlap")
    return [f"| {column.label} | {noise} | {ours} | {best} {name} | {said} |"]


def write(
    path: Path, parts: Sequence[tuple[str, dict[str, Any], list[Row]]], lcd: Sequence[str]
) -> None:
    """Write the document."""
    lines = [
        "# Results",
        "",
        "Printed by `python -m pipelines.results --data DATA --output runs/results`, from",
        "`configs/results.json`, with ctdenoise "
        f"{__version__}. For research only: not a medical device.",
        "",
        "Every figure names its window or tissue. Intervals are 95 %, by bootstrap over patients "
        "(photographs) where there are three or more. *identity* is the noisy image itself. What "
        "the figures mean: [evaluation.md](evaluation.md).",
    ]
    for name, config, rows in parts:
        lines += ["", f"# {config['title']}", "", config["text"], ""]
        lines += ["## Against the best of the others", "", *verdicts(rows), ""]
        lines.append(markdown(rows).strip())
        lines.append(f"\n`{name}` of the configuration.")
    if lcd:
        lines += [
            "",
            "# The low-contrast phantom LCD_CT",
            "",
            "Simulated filtered back projection with ten repeats at each dose, with four lesions "
            "and without (DIDSR, CC0). Error and bias inside the phantom; of each lesion, the "
            "contrast kept in the mean of the repeats, and the AUC of a channelized Hotelling "
            f"observer of {CHANNELS} channels. Classical methods are tuned, for each dose, "
            f"on {TUNED_ON} images without lesions.",
            "",
            *lcd,
        ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "results.json")
    parser.add_argument("--document", type=Path, default=ROOT / "docs" / "results.md")
    parser.add_argument("--only", nargs="*", help="names of evaluations to run; writes nothing")
    parser.add_argument("--more", nargs="*", default=[], help="models to judge as well")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    options = parser.parse_args()
    torch.set_num_threads(1)
    configs = json.loads(options.config.read_text(encoding="utf-8"))
    parts = [
        (
            name,
            config,
            evaluate(config, options.data, options.output / name, options.more, options.threads),
        )
        for name, config in configs.items()
        if options.only is None or name in options.only
    ]
    if options.only is not None:
        sys.exit()
    lcd: list[str] = []
    if (options.data / LCD).is_dir():
        methods = [parse_method(name) for name in (*LCD_METHODS, *options.more)]
        lcd = phantom_table(methods, options.data / LCD)
    write(options.document, parts, lcd)


if __name__ == "__main__":
    main()
