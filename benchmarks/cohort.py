"""A cohort against a plain run, measured; and what a large one costs, on paper.

    python -m benchmarks.cohort [--model lite|tiny|FILE] [--series 8] [--slices 20] [--rounds 3]
        [--gpu-rate 50] [--storage 500] [--document FILE]

All take turns, each a process of its own with an output of its own, OpenVINO's graph in the cache.
A series' share is what it adds to the whole: (many - few) / (their difference in number), so that
starting is apart from it. What is assumed on paper, and not measured, is an option and is said.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pydicom

from benchmarks.cohort_paper import SLICES, Slice, on_paper
from benchmarks.command import Usage, ctdenoise, in_turns, measure
from benchmarks.document import Section, Spread, Table, document
from benchmarks.inputs import make_series
from benchmarks.interleaved import Rounds
from benchmarks.machine import machine, versions
from benchmarks.setting import Setting
from ctdenoise.cohort.table import Row
from ctdenoise.commands.common import threads_of
from ctdenoise.series import find


@dataclass(frozen=True)
class Way:
    """A way to denoise a folder of series.

    Attributes:
        name: for the table.
        arguments: of the command line, but for input, output and model.
        workers: how many; as many series are the few, so that each has one.
    """

    name: str
    arguments: tuple[str, ...]
    workers: int = 1


@dataclass(frozen=True)
class Share:
    """What a series adds, and what is once, in seconds, by round."""

    series: Spread
    once: Spread


class Bench:
    """Measures, in a folder of its own."""

    def __init__(self, setting: Setting, options: argparse.Namespace) -> None:
        self._setting = setting
        self._model = setting.tiny_model() if options.model == "tiny" else options.model
        self._slices, self._side = options.slices, options.side
        self._few: dict[int, Path] = {}
        self.many = self._make("many", options.series)
        self.count = options.series

    def ways(self) -> list[Way]:
        """Plain, and with one and two workers, on the same CPUs altogether."""
        cpus = threads_of(argparse.Namespace(threads=None))
        plain = Way("`ctdenoise run`", ("run", "--threads", str(cpus)))
        workers = [
            Way(f"cohort, {n} worker{'s' if n > 1 else ''}", ("cohort", "--workers", str(n)), n)
            for n in (1, 2)
        ]
        return [plain, *workers]

    def few(self, count: int) -> Path:
        """A manifest of few series."""
        if count not in self._few:
            self._few[count] = self._make(f"few-{count}", count)
        return self._few[count]

    def run(self, way: Way, source: Path, number: int) -> Usage:
        """The command, which has nothing to resume."""
        output = self.output(way, source)
        shutil.rmtree(output, ignore_errors=True)
        given = source.with_suffix("") if way.arguments[0] == "run" else source
        command = ctdenoise(
            *way.arguments, "--input", given, "--output", output, "--model", self._model,
            "--device", "cpu", "--quiet",
        )  # fmt: skip
        return measure(command, self._setting.env)

    def output(self, way: Way, source: Path) -> Path:
        """Where it writes."""
        return self._setting.folder / "out" / f"{way.arguments[0]}-{way.workers}-{source.stem}"

    def _make(self, name: str, count: int) -> Path:
        """A manifest of new series, which are the only thing in a folder of its name."""
        folder = self._setting.folder / name
        for place in range(count):
            make_series(folder / f"{place:03d}", self._slices, self._side)
        manifest = folder.with_suffix(".csv")
        manifest.write_text("path\n" + "".join(f"{series}\n" for series in folder.iterdir()))
        return manifest


def measured(bench: Bench, rounds: Rounds) -> Section:
    """Series a minute of each way, and what a series costs beside the plain run."""
    ways = bench.ways()
    bench.run(ways[0], bench.few(1), 0)  # so that OpenVINO's graph is there
    jobs: dict[str, Callable[[int], Usage]] = {}
    for way in ways:
        for source in (bench.few(way.workers), bench.many):
            jobs[f"{way.name} {source.name}"] = partial(bench.run, way, source)
    found = in_turns(rounds, jobs)
    expected = _pixels(bench.output(ways[0], bench.many))
    if any(_pixels(bench.output(way, bench.many)) != expected for way in ways[1:]):
        raise RuntimeError("a cohort gives other pixels than a plain run")
    shares = {
        way.name: _share(
            found[f"{way.name} {bench.few(way.workers).name}"],
            found[f"{way.name} {bench.many.name}"],
            way.workers,
            bench.count,
        )
        for way in ways
    }
    plain = shares[ways[0].name].series.median
    rows = []
    for way in ways:
        share = shares[way.name]
        whole = Spread.of([u.seconds for u in found[f"{way.name} {bench.many.name}"]])
        rows.append(
            (
                way.name,
                whole.text(1),
                share.once.text(1),
                share.series.text(2),
                f"{60 / share.series.median:.1f}",
                f"{share.series.median - plain:+.2f}",
                f"{plain / share.series.median:.2f}",
            )
        )
    columns = (
        *("", f"whole, {bench.count} series, s", "once, s", "a series, s", "series a minute"),
        *("more than plain, s a series", "times as fast as plain"),
    )
    return Section(
        title="A cohort against a plain run",
        said=(
            "The same CPUs for each way: workers share them. *Once*: starting and ending, what the "
            "whole takes beside what each series adds. The pixels are the same in all of them.",
        ),
        tables=(Table(columns, tuple(rows)),),
    )


def slice_costs(bench: Bench) -> Slice:
    """From the reports of the cohort with one worker."""
    output = bench.output(bench.ways()[1], bench.many)
    reports = [json.loads(p.read_text()) for p in (output / "reports").glob("series-*.json")]
    series = [report["series"][0] for report in reports]
    count = sum(one["slices"] for one in series)
    parts = {
        part: sum(one["seconds"][part] for one in series) / count
        for part in ("reading", "network", "writing")
    }
    sources = bench.many.with_suffix("")
    files = [*sources.rglob("*.dcm"), *output.rglob("*.dcm")]
    begin = time.perf_counter()
    find(sources)
    return Slice(
        mb=sum(file.stat().st_size for file in files) / count / 1e6,
        finding=(time.perf_counter() - begin) / count,
        resume=_resume_seconds(reports[0], output / "resume"),
        **parts,
    )


def _resume_seconds(report: dict[str, Any], folder: Path) -> float:
    """What reading a report takes that has the images of a whole series."""
    (series,) = report["series"]
    series["instances"] = (series["instances"] * SLICES)[:SLICES]
    folder.mkdir()
    paths = [folder / f"{place}.json" for place in range(100)]
    for path in paths:
        path.write_text(json.dumps(report, indent=2))
    begin = time.perf_counter()
    for path in paths:
        Row.of(json.loads(path.read_text()), path.stem, input=path.stem, id="")
    return (time.perf_counter() - begin) / len(paths)


def _share(few: list[Usage], many: list[Usage], few_count: int, many_count: int) -> Share:
    each, once = [], []
    for small, large in zip(few, many, strict=True):
        series = (large.seconds - small.seconds) / (many_count - few_count)
        each.append(series)
        once.append(small.seconds - few_count * series)
    return Share(Spread.of(each), Spread.of(once))


def _pixels(output: Path) -> dict[str, bytes]:
    """Pixels of derived files by their UIDs."""
    found = map(pydicom.dcmread, output.rglob("[0-9]*.dcm"))
    return {str(d.SOPInstanceUID): hashlib.sha256(d.PixelData).digest() for d in found}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--model", default="lite", help="a model, or tiny: one that costs next to nothing")
    add("--series", type=int, default=8, help="more than two, an even number")
    add("--slices", type=int, default=20, help="of a series")
    add("--side", type=int, default=512, help="of a slice, in pixels; on paper it has to be 512")
    add("--rounds", type=int, default=3)
    add("--gpu-rate", type=float, default=50.0, help="slices a second of a GPU, assumed")
    add("--storage", type=float, default=500.0, help="MB/s of the storage, assumed")
    add("--document", type=Path, metavar="FILE", help="write it there as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ctdenoise-") as folder:
        bench = Bench(Setting(Path(folder)), options)
        sections = [measured(bench, Rounds(0, options.rounds))]
        if options.side == 512:
            cost = slice_costs(bench)
            sections.append(on_paper(cost, rate=options.gpu_rate, storage=options.storage))
    said = (
        f"Printed by `python -m benchmarks.cohort --model {options.model} --series "
        f"{options.series} --slices {options.slices} --side {options.side}` on {machine()}, no "
        f"GPU; {versions()}. {options.rounds} rounds in turns: median (least to most)."
    )
    text = document("How fast a cohort is", [said], sections)
    print(text, end="")
    if options.document is not None:
        options.document.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
