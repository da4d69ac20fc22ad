"""How fast a CUDA GPU denoises, printed as Markdown.

    python -m benchmarks.gpu [--document docs/performance_gpu.md] [--rounds 20] [--slices 200]

The network as it is written down and as ours take turns in one process; each has to take its
slices from the memory of the host and to bring its results back there. The written-down one runs
with PyTorch's own settings, under which its convolutions are in TF32.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.command import ctdenoise, measure
from benchmarks.document import Section, Spread, Table, document, ratios
from benchmarks.inputs import make_series, sample_hu
from benchmarks.machine import machine, versions
from benchmarks.published import load_checkpoint
from benchmarks.setting import Setting
from ctdenoise.backends import Precision, open_backend
from ctdenoise.denoiser import match_level
from ctdenoise.measured_noise import measure_noise
from ctdenoise.models.registry import load

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16")
BATCH = 16
"""What a run takes at once, where it fits."""

Images = NDArray[np.float32]


def plain(network: nn.Module) -> Callable[[Images], Images]:
    """A network as it is written down, on the GPU."""
    network = network.to("cuda")

    def compute(images: Images) -> Images:
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = False
        with torch.no_grad():
            found = network(torch.from_numpy(images[:, None]).to("cuda"))
        return np.asarray(found[:, 0].cpu().numpy())

    return compute


def network_table(
    title: str, network: nn.Module, name: str, images: Images, hu: float, rounds: int
) -> Table:
    """What a slice takes, and how far the result is from fp32; ``hu`` is those of a unit."""
    ways: dict[tuple[str, str, int], Callable[[Images], Images]] = {
        ("plain", "TF32", 1): plain(network)
    }
    model = load(name)
    for precision in PRECISIONS:
        backend = open_backend(model, backend="torch", device="cuda", precision=precision)
        ways["ours", precision, BATCH] = backend
    results = {way: np.array(compute(images[: way[2]])) for way, compute in ways.items()}
    seconds: dict[tuple[str, str, int], list[float]] = {way: [] for way in ways}
    for number in range(rounds + 3):
        for way, compute in ways.items():
            begin = time.perf_counter()
            compute(images[: way[2]])
            if number >= 3:
                seconds[way].append((time.perf_counter() - begin) / way[2])
    exact = results["ours", "fp32", BATCH][0]
    against = seconds["plain", "TF32", 1]
    rows = []
    for way, taken in seconds.items():
        change = np.abs(results[way][0] - exact) * hu
        rows.append(
            (
                *(way[0], way[1], str(way[2])),
                Spread.of([1e3 * s for s in taken]).text(),
                ratios(against, taken).text(1),
                f"{1 / Spread.of(taken).median:.0f}",
                f"{change.mean():.3f}, {np.percentile(change, 99.9):.2f}",
            )
        )
    columns = (title, "precision", "batch", "ms per slice", "plain / this", "slices per s")
    return Table((*columns, "HU from fp32: mean, 99.9 %"), tuple(rows))


def run_table(folder: Path, slices: int) -> Table:
    """A whole series from files to files."""
    series = make_series(folder / "series", slices)
    rows = []
    for precision in PRECISIONS:
        output = folder / f"out-{precision}"
        usage = measure(
            ctdenoise(
                *("run", "--input", series, "--output", output, "--report", output / "r.json"),
                *("--precision", precision, "--device", "cuda", "--quiet"),
            ),
            Setting(folder, quick=True).env,
            watch=output,
        )
        (report,) = json.loads((output / "r.json").read_text(encoding="utf-8"))["series"]
        taken = report["seconds"]
        parts = (taken["network"], taken["reading"], taken["writing"])
        first = usage.first_seconds or usage.seconds
        rows.append(
            (precision, f"{usage.seconds:.1f}", f"{first:.1f}", *(f"{part:.1f}" for part in parts))
        )
    columns = ("precision", "whole command, s", "first slice, s", "network, s", "reading, s")
    return Table((*columns, "writing, s"), tuple(rows))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--document", type=Path, metavar="FILE", help="write it there as well")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--slices", type=int, default=200)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("no CUDA GPU here")
    hu = sample_hu()[[i % 8 for i in range(BATCH)]].astype(np.float64)
    lite = load("lite")
    nothing = np.zeros(hu.shape, dtype=bool)
    level = match_level(lite.card, measure_noise(zip(hu[:4], nothing[:4], strict=True)))
    images = ((hu - level.centre) / level.unit_width + 0.5).astype(np.float32)
    with tempfile.TemporaryDirectory(prefix="ctdenoise-") as name:
        wide = Setting(Path(name), quick=True).checkpoint(64)
        tables = (
            network_table(
                "The paper's network, width 64 (random weights)",
                load_checkpoint(Path(wide)),
                wide,
                images,
                level.unit_width,
                options.rounds,
            ),
            network_table(
                "The embedded model, lite",
                lite.network,
                "lite",
                images,
                level.unit_width,
                options.rounds,
            ),
        )
        whole = run_table(Path(name), options.slices)
    gpu = torch.cuda.get_device_properties(0)
    said = f"Printed by `python -m benchmarks.gpu` on one {gpu.name} with {machine()}; {versions()}"
    sections = [
        Section(
            title="Network",
            said=(
                "Slices of 512x512 from the memory of the host and back, "
                f"{options.rounds} rounds in turns after 3 that do not count: median (least to "
                "most). *Plain* is the network as it is written down, batch 1, PyTorch's own "
                "settings. Ours: folded graph, channels_last, CUDA graphs, no TF32 in fp32.",
            ),
            tables=tables,
        ),
        Section(
            title="A whole run",
            said=(
                f"`ctdenoise run --device cuda` on {options.slices} slices, one run each, the "
                "batch as large as should fit. Reading and writing are beside the network.",
            ),
            tables=(whole,),
        ),
    ]
    text = document("How fast on a GPU", [said + "."], sections)
    print(text, end="")
    if options.document is not None:
        options.document.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
