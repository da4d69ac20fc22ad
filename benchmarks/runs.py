"""Whole runs of the command line: how long, how much memory, and how soon."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.command import Usage, ctdenoise, in_turns, measure
from benchmarks.document import Section, Spread, Table, target
from benchmarks.inputs import make_frames, make_series, make_slice, make_volume
from benchmarks.interleaved import Variant, environment
from benchmarks.machine import has_openvino
from benchmarks.network import NO_OPENVINO
from benchmarks.setting import Setting

ALLOWED_SECONDS = 4.0
ALLOWED_RATIO = 1.15
ALLOWED_GROWTH = 1.10
KINDS = {
    "single-frame DICOM": make_series,
    "one multi-frame DICOM file": make_frames,
    "one .nii.gz volume": make_volume,
}


@dataclass(frozen=True)
class Run:
    """A run, and the seconds in its report."""

    usage: Usage
    network: float
    reading: float
    writing: float

    def ratio(self, alone: float) -> float:
        """The whole, less what starting may take, over the seconds of nothing but the network."""
        return (self.usage.seconds - ALLOWED_SECONDS) / alone


def run_section(setting: Setting) -> Section:
    """A series from its files to the denoised ones."""
    count = 4 if setting.quick else 100
    series = make_series(setting.folder / "whole", count)
    wide = setting.checkpoint(64)
    made = {
        "lite, fp32": ("lite", "fp32"),
        "lite, bf16": ("lite", "bf16"),
        "width 64 (random weights), fp32": (wide, "fp32"),
    }
    for model, precision in () if setting.quick else made.values():
        # So that OpenVINO's graphs are there.
        _run(setting, make_one(setting), model, precision, "warm-up")
    variants = {
        name: Variant("ours", model, "auto", precision) for name, (model, precision) in made.items()
    }
    alone: dict[str, list[float]] = {name: [] for name in made}
    runs: dict[str, list[Run]] = {name: [] for name in made}
    for number in range(setting.whole_runs):
        timed = setting.interleaved(variants.values())
        for name, (model, precision) in made.items():
            alone[name].append(count * Spread.of(timed[variants[name]].seconds[0]).median)
            runs[name].append(_run(setting, series, model, precision, f"whole-{number}"))
    rows, worst = [], 0.0
    for name, found in runs.items():
        ratio = Spread.of([run.ratio(s) for run, s in zip(found, alone[name], strict=True)])
        worst = max(worst, ratio.median)
        spreads = [
            Spread.of([run.usage.seconds for run in found]),
            *(Spread.of([getattr(r, p) for r in found]) for p in ("network", "reading", "writing")),
        ]
        first = Spread.of([run.usage.first_seconds or run.usage.seconds for run in found])
        cells = [Spread.of(alone[name]).text(1), ratio.text(), first.text(1)]
        rows.append((name, *(s.text(1) for s in spreads), *cells))
    columns = (
        *("model", "whole command, s", "network, s", "reading, s", "writing, s"),
        *("network alone, s", f"(whole - {ALLOWED_SECONDS:g} s) / alone", "first slice, s"),
    )
    return Section(
        title="A whole run",
        said=(
            f"`ctdenoise run --report` on {count} slices of 512x512 (explicit little endian, a "
            "file a slice, made of the sample series), from its start to its end, on two threads; "
            f"OpenVINO's graph is in the cache. Runs in turns, {setting.whole_runs} each: median "
            "(least to most). Reading and writing are beside the network, in threads of their own, "
            "which makes it slower. *Network alone*: what as many slices take where nothing else "
            "is done. *First slice*: from the start until the first denoised file is there.",
        ),
        tables=(Table(columns, tuple(rows)),),
        notes=(
            target(
                f"whole command within {ALLOWED_RATIO:g} x network alone + {ALLOWED_SECONDS:g} s",
                met=worst <= ALLOWED_RATIO,
            ),
        ),
    )


def make_one(setting: Setting) -> Path:
    """A slice of 512x512."""
    path = setting.folder / "one.dcm"
    return path if path.exists() else make_slice(path)


def _run(setting: Setting, source: Path, model: str, precision: str, name: str) -> Run:
    output = setting.folder / "out" / f"{name}-{Path(model).stem}-{precision}"
    report = output / "report.json"
    usage = measure(
        ctdenoise(
            *("run", "--input", source, "--output", output, "--report", report, "--quiet"),
            *("--model", model, "--precision", precision, "--threads", 2, "--device", "cpu"),
        ),
        setting.env,
        watch=output,
    )
    (series,) = json.loads(report.read_text(encoding="utf-8"))["series"]
    if series["status"] != "done":
        raise RuntimeError(f"{name}: {series['status']}: {series['reason']}")
    return Run(usage, **{key: series["seconds"][key] for key in ("network", "reading", "writing")})


def memory_section(setting: Setting) -> Section:
    """Most memory of a short and of a long series."""
    few, many = (4, 12) if setting.quick else (40, 400)
    model = setting.tiny_model()
    made: dict[str, Callable[[int], Usage]] = {}
    for number, (kind, make) in enumerate(KINDS.items()):
        for count in (few, many):
            source = make(setting.folder / f"memory-{number}-{count}", count, 256)
            made[f"{kind}: {count}"] = partial(_memory, setting, source, model)
    _memory(setting, make_one(setting), model, 0)  # so that OpenVINO's graph is there
    found = in_turns(setting.memory_runs, made)
    rows, worst = [], 0.0
    for kind in KINDS:
        short, long = (found[f"{kind}: {count}"] for count in (few, many))
        growth = Spread.of([b.peak_mib / a.peak_mib for a, b in zip(short, long, strict=True)])
        worst = max(worst, growth.median)
        peaks = (Spread.of([usage.peak_mib for usage in part]).text(0) for part in (short, long))
        seconds = Spread.of([usage.seconds for usage in long]).text(1)
        rows.append((kind, *peaks, growth.text(), seconds))
    columns = ("input", f"{few} slices", f"{many} slices", "growth", f"s for {many}")
    return Section(
        title="Memory",
        said=(
            "Most resident memory of `ctdenoise run` in MiB, slices of 256x256, with a model so "
            "small that it hardly counts (width 8, random weights); "
            f"{setting.memory_runs.measured} runs in turns.",
        ),
        tables=(Table(columns, tuple(rows)),),
        notes=(
            target(
                f"{many} slices take within {ALLOWED_GROWTH - 1:.0%} of what {few} take",
                met=worst <= ALLOWED_GROWTH,
            ),
        ),
    )


def _memory(setting: Setting, source: Path, model: str, number: int) -> Usage:
    output = setting.folder / "out" / f"{source.stem}-{source.parent.name}-{number}"
    return measure(
        ctdenoise(
            *("run", "--input", source, "--output", output, "--model", model, "--quiet"),
            *("--threads", 2, "--device", "cpu"),
        ),
        setting.env,
    )


def startup_section(setting: Setting) -> Section:
    """What a user waits for before anything happens."""
    folder = setting.folder / "startup"

    def one(backend: str, cache: str, number: int) -> Usage:
        name = f"{backend}-{cache}-{number}"
        # A cold cache is one that no run has seen.
        env = environment(folder / (name if cache == "cold" else "warm"))
        options = ("--backend", backend, "--device", "cpu", "--threads", 2, "--quiet")
        output = folder / "out" / name
        source = make_one(setting)
        return measure(ctdenoise("run", "--input", source, "--output", output, *options), env)

    measured: dict[str, Callable[[int], Usage]] = {
        "`ctdenoise --help`": lambda number: measure(ctdenoise("--help"), setting.env),
        "`ctdenoise run`, one slice, torch": partial(one, "torch", "none"),
    }
    if has_openvino():
        one("openvino", "warm", -1)
        said = "`ctdenoise run`, one slice, openvino, its graph "
        measured[said + "in the cache"] = partial(one, "openvino", "warm")
        measured[said + "not yet there"] = partial(one, "openvino", "cold")
    found = in_turns(setting.runs, measured)
    rows = [
        (
            name,
            *(
                Spread.of([getattr(u, what) for u in usages]).text(digits)
                for what, digits in (("seconds", 2), ("peak_mib", 0))
            ),
        )
        for name, usages in found.items()
    ]
    return Section(
        title="Starting",
        said=(
            "From the start of the process to its end, the embedded model in fp32, files of the "
            f"installation already in the system's cache; {setting.runs.measured} runs in turns.",
        ),
        tables=(Table(("command", "s", "most memory, MiB"), tuple(rows)),),
        notes=() if has_openvino() else (NO_OPENVINO,),
    )
