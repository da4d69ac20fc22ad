"""How fast networks and convolutions are, and what threads are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.document import Section, Spread, Table, ratios, target
from benchmarks.interleaved import Rounds, Timed, Variant
from benchmarks.machine import has_openvino
from benchmarks.setting import Setting

PRECISIONS = ("fp32", "bf16")
CONVOLUTIONS = ("64 at 256x256", "128 at 128x128", "256 at 64x64")
LARGEST_DIFFERENCE = 1e-4
LEAST_RATIO = {"fp32": 2.3, "bf16": 4.5}
"""Of the paper's network, in the published code's way of computing and in ours."""
NO_OPENVINO = "OpenVINO is not installed: its rows are left out."


@dataclass(frozen=True)
class Model:
    """A network, as it is written down and as ours.

    Attributes:
        title: what is said of it.
        plain: as it is written down.
        ours: its name or file.
        targets: whether it is the one that :data:`LEAST_RATIO` is said of.
    """

    title: str
    plain: Variant
    ours: str
    targets: bool = False


@dataclass(frozen=True)
class Group:
    """Figures of one model, all of the same rounds.

    Attributes:
        model: which.
        timed: what each variant took.
        differences: largest difference to the plain network, as a share of its range.
    """

    model: Model
    timed: dict[Variant, Timed]
    differences: dict[Variant, float]


def models(setting: Setting) -> list[Model]:
    """The paper's, the embedded one, and the paper's at half width."""
    wide, half = setting.checkpoint(64), setting.checkpoint(32)
    found = [
        Model("The paper's network, width 64 (random weights)", published(setting), wide, True),
        Model("The embedded model, lite", Variant("plain", "lite"), "lite"),
        Model("The paper's network at width 32 (random weights)", Variant("published", half), half),
    ]
    return found[:2] if setting.quick else found


def published(setting: Setting) -> Variant:
    """The paper's network in the published code's way of computing."""
    return Variant("published", setting.checkpoint(64))


def backends() -> tuple[str, ...]:
    """Those that are installed."""
    return ("torch", "openvino") if has_openvino() else ("torch",)


def measure_network(setting: Setting) -> list[Group]:
    """Each model in each way, and the convolutions beside it."""
    return [_measure(setting, model) for model in models(setting)]


def _measure(setting: Setting, model: Model) -> Group:
    ours = [
        Variant("ours", model.ours, backend, precision, batch)
        for backend in backends()
        for precision in PRECISIONS
        for batch in ((1, 4) if backend == "torch" and model.plain == published(setting) else (1,))
    ]
    save = {v: setting.folder / f"result_{i}.npy" for i, v in enumerate([model.plain, *ours])}
    both = dict.fromkeys([published(setting), model.plain])
    timed = setting.interleaved([*both, *ours, *convolutions()], save)
    expected = np.load(save[model.plain])
    differences = {
        v: float(np.abs(np.load(save[v])[:1] - expected).max() / np.ptp(expected)) for v in ours
    }
    return Group(model, timed, differences)


def network_section(groups: Sequence[Group], *, side: int, rounds: Rounds) -> Section:
    """The tables of the models."""
    notes = []
    for group in groups:
        exact = [d for v, d in group.differences.items() if v.precision == "fp32"]
        what = f"{group.model.title}: fp32 within {LARGEST_DIFFERENCE:g} of the range of the output"
        notes.append(target(what, met=max(exact) <= LARGEST_DIFFERENCE))
        if group.model.targets:
            notes += _as_fast(group)
    return Section(
        title="Network",
        said=(
            f"One slice of {side}x{side} through the network alone, on two threads. *Plain* is the "
            "network as it is written down, in fp32, one slice at a time, contiguous memory, and "
            "the C library's own malloc: for the paper's network the published code's way of "
            "computing, with a stage of the encoder that nothing uses; for the embedded model the "
            "module that was trained. The others are what `ctdenoise run` computes: BatchNorm "
            "folded, channels last, the last convolution in tiles, and the largest ones in half of "
            "the multiplications, or in fp32 a quarter (Winograd).",
            f"Each row is a process of its own; they take turns, {rounds.measured} rounds after "
            f"{rounds.warm_up} that do not count. Ratios are of the same round: median (least to "
            "most), above 1 is faster than plain. GFLOP are those of the convolutions that are "
            "really computed; GFLOP/s those of the fastest round, and the share is that of the "
            "fastest 3x3 convolution of the same precision in the same rounds. The difference is "
            "the largest of any pixel, as a share of the range of the plain network's output.",
        ),
        tables=tuple(_table(group) for group in groups),
        notes=(*notes, *_left_out()),
    )


def _as_fast(group: Group) -> list[str]:
    """Whether the fastest of ours is fast enough, slice by slice."""
    plain = group.timed[group.model.plain].seconds[0]
    best: dict[str, float] = {}
    for variant, timed in group.timed.items():
        if variant.kind == "ours":
            per_slice = [seconds / variant.batch for seconds in timed.seconds[0]]
            ratio = ratios(plain, per_slice).median
            best[variant.precision] = max(ratio, best.get(variant.precision, 0.0))
    return [
        target(
            f"{group.model.title}: {precision} {LEAST_RATIO[precision]:g} times as fast as plain "
            f"({ratio:.2f})",
            met=ratio >= LEAST_RATIO[precision],
        )
        for precision, ratio in best.items()
    ]


def _table(group: Group) -> Table:
    plain = group.timed[group.model.plain]
    paper = next(t for v, t in group.timed.items() if v.kind == "published")
    other = paper is not plain
    peak = peaks(group.timed)
    rows = []
    for variant, timed in group.timed.items():
        if variant.kind == "convolutions" or (timed is paper and other):
            continue
        per_slice = [seconds / variant.batch for seconds in timed.seconds[0]]
        against = [plain, paper] if other else [plain]
        difference = group.differences.get(variant)
        rows.append(
            (
                variant.backend if variant.kind == "ours" else "plain",
                variant.precision,
                str(variant.batch),
                Spread.of(per_slice).text(3),
                *(ratios(t.seconds[0], per_slice).text() for t in against),
                f"{timed.flop[0] / variant.batch / 1e9:.1f}",
                f"{timed.fastest:.0f}",
                f"{timed.fastest / peak[variant.precision]:.0%}",
                "-" if difference is None else f"{difference:.0e}",
            )
        )
    return Table(
        (
            *(group.model.title, "precision", "batch", "s per slice", "plain / this"),
            *(("published, width 64 / this",) if other else ()),
            *("GFLOP", "GFLOP/s", "share of peak", "difference"),
        ),
        tuple(rows),
    )


def convolutions() -> list[Variant]:
    """Nothing but convolutions, by each backend in each precision."""
    return [Variant("convolutions", backend=b, precision=p) for b in backends() for p in PRECISIONS]


def peaks(timed: dict[Variant, Timed]) -> dict[str, float]:
    """GFLOP/s of the fastest convolution, by precision."""
    return {
        precision: max(
            t.fastest
            for v, t in timed.items()
            if v.kind == "convolutions" and v.precision == precision
        )
        for precision in PRECISIONS
    }


def peak_section(groups: Sequence[dict[Variant, Timed]]) -> Section:
    """The table of the convolutions, over all rounds of all groups."""
    rows = []
    for variant in convolutions():
        found = [timed[variant] for timed in groups]
        best = [
            max(t.flop[i] / min(t.seconds[i]) / 1e9 for t in found)
            for i in range(len(CONVOLUTIONS))
        ]
        rows.append(
            (variant.backend, variant.precision, *(f"{x:.0f}" for x in best), f"{max(best):.0f}")
        )
    return Section(
        title="The peak of this machine",
        said=(
            "GFLOP/s of 3x3 convolutions with as many channels out as in, five in a row, on two "
            "threads; of PyTorch in channels_last. The best of all rounds.",
        ),
        tables=(Table(("computed by", "precision", *CONVOLUTIONS, "best"), tuple(rows)),),
        notes=_left_out(),
    )


def threads_section(setting: Setting) -> Section:
    """One thread against two."""
    rows = []
    for title, model in (("lite", "lite"), ("width 64", setting.checkpoint(64))):
        pairs = [
            [Variant("ours", model, "auto", precision, threads=n) for n in (1, 2)]
            for precision in PRECISIONS
        ]
        timed = setting.interleaved([variant for pair in pairs for variant in pair])
        for pair in pairs:
            one, two = (timed[variant].seconds[0] for variant in pair)
            row = (Spread.of(one).text(3), Spread.of(two).text(3), ratios(one, two).text())
            rows.append((title, pair[0].precision, *row))
    return Section(
        title="Threads",
        said=(
            f"A slice of {setting.side}x{setting.side} on one thread and on two, by the fastest "
            f"backend ({backends()[-1]}), in turns; seconds a slice.",
        ),
        tables=(
            Table(("model", "precision", "one thread", "two threads", "one / two"), tuple(rows)),
        ),
    )


def _left_out() -> tuple[str, ...]:
    return () if has_openvino() else (NO_OPENVINO,)
