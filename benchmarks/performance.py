"""Everything about speed and memory, measured by one command and printed as Markdown.

    python -m benchmarks.performance [--document docs/performance.md] [--quick] [--only NAME ...]

Ratios are of things that took turns, so that what else the machine does disturbs them alike.
``--quick`` is to see that all works, its figures mean nothing. See the sections for what is
measured, and how.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.document import Section, document
from benchmarks.interleaved import Timed, Variant
from benchmarks.machine import machine, number_formats, versions
from benchmarks.network import (
    convolutions,
    measure_network,
    network_section,
    peak_section,
    threads_section,
)
from benchmarks.precision import precision_section
from benchmarks.runs import memory_section, run_section, startup_section
from benchmarks.setting import Setting
from benchmarks.transfer import transfer_section

PARTS = ("network", "peak", "threads", "precision", "run", "memory", "io", "startup")

NEXT = Section(
    title="What would be next",
    said=("None of this is measured but the first; in the order of what it might bring.",),
    notes=(
        "**Beside a GPU.** One computes a slice in a millisecond "
        "([performance_gpu.md](performance_gpu.md)): there, what HU go through before and behind "
        "the network, and writing, are nearly all of a run. They could go to the GPU as well.",
        "**Eight bits.** Most of the time of a slice is convolutions, in as few multiplications as "
        "was found; fewer bits are what is left on the same processor. It wants a calibration on "
        "CT, and a look at every tissue's mean HU, before it is worth its speed.",
        "**Fewer operations.** The embedded model's decoder is narrower than the paper's at the "
        "finest levels, which halves its operations; what other widths cost in quality is for "
        "`python -m pipelines.compare_widths` to say.",
        "**The finest level strip by strip.** There, what fewer multiplications save is nearly "
        "lost again in passes over images that do not fit the caches.",
        "**More cores.** Two were at hand. How a slice scales beyond them, and whether several "
        "slices at once do better there, is not known.",
        "**Decoding.** One thread reads ahead. JPEG 2000 and JPEG-LS take tens of milliseconds a "
        "slice, which is little beside a network on two cores, and would not be on a GPU.",
    ),
)


def sections(parts: Sequence[str], setting: Setting) -> list[Section]:
    """Measure parts of :data:`PARTS`."""
    found: list[Section] = []
    convolved: list[dict[Variant, Timed]] = []
    measures: dict[str, Callable[[], Section]] = {
        "threads": lambda: threads_section(setting),
        "precision": lambda: precision_section(setting),
        "run": lambda: run_section(setting),
        "memory": lambda: memory_section(setting),
        "io": lambda: transfer_section(setting),
        "startup": lambda: startup_section(setting),
    }
    for part in [part for part in PARTS if part in parts]:
        begin = time.perf_counter()
        if part == "network":
            groups = measure_network(setting)
            found.append(network_section(groups, side=setting.side, rounds=setting.rounds))
            convolved = [group.timed for group in groups]
        elif part == "peak":
            found.append(peak_section(convolved or [setting.interleaved(convolutions())]))
        else:
            found.append(measures[part]())
        print(f"{part}: {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    return found


def whole(parts: Sequence[Section], *, command: str, quick: bool) -> str:
    """The document."""
    said = [
        f"Printed by `{command}` on {machine()} ({number_formats()}), no GPU; {versions()}.",
        "The machine is shared: seconds are of that day, ratios within one run of turns are what "
        "counts, with their median and their least and most.",
    ]
    if quick:
        said.append("**With `--quick`: only to see that all works. These figures mean nothing.**")
    return document("How fast", said, [*parts, NEXT])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--document", type=Path, metavar="FILE", help="write it there as well")
    parser.add_argument("--quick", action="store_true", help="few rounds and few slices")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="NAME")
    options = parser.parse_args()
    command = "python -m benchmarks.performance"
    if options.only != PARTS:
        command += f" --only {' '.join(options.only)}"
    if options.quick:
        command += " --quick"
    with tempfile.TemporaryDirectory(prefix="ctdenoise-") as folder:
        parts = sections(options.only, Setting(Path(folder), options.quick))
    text = whole(parts, command=command, quick=options.quick)
    print(text, end="")
    if options.document is not None:
        options.document.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
