"""Seconds a slice of the simulation of a lower dose, as a Markdown table, for this machine.

    python -m benchmarks.simulate SERIES [--slices 8] [--views 900] [--threads 2]

SERIES is a DICOM file or folder, or a NIfTI file. Each figure is a median, with the least and the
most, in seconds. ``noise`` is low_dose_noise, of which the columns after it are parts.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.machine import machine
from ctdenoise.noise import low_dose
from ctdenoise.series import find, read
from ctdenoise.simulate import pixel_spacing

PARTS = {
    "project": "projection",
    "_LogCounts": "table of counts",
    "filter_views": "filter",
    "backproject": "back projection",
}


class Stopwatch:
    """Seconds of each call, by name."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, list[float]] = defaultdict(list)

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            result = function(*args, **options)
            self.seconds[name].append(time.perf_counter() - begin)
            return result

        return run


def measure(path: Path, slices: int, scan: low_dose.Scan) -> tuple[Stopwatch, tuple[int, ...]]:
    """Times of up to ``slices`` slices of a series, after one that warms up; and their shape."""
    watch = Stopwatch()
    noise = watch.timed("noise", low_dose.low_dose_noise)
    series = find(path).series[0]
    spacing = pixel_spacing(series)
    for name, part in PARTS.items():
        setattr(low_dose, name, watch.timed(part, getattr(low_dose, name)))
    for number, instance in enumerate([series.instances[0], *series.instances[:slices]]):
        image = watch.timed("reading", read)(series, instance)
        for frame in range(min(instance.frames, slices)):
            rng = np.random.default_rng(frame)
            hu, padding = image.hu[frame], image.padding[frame]
            noise(hu, padding, spacing=spacing, dose=0.25, scan=scan, rng=rng)
        if number == 0:
            watch.seconds.clear()
    return watch, hu.shape


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("series", type=Path)
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--views", type=int, default=low_dose.Scan.views)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    watch, shape = measure(options.series, options.slices, low_dose.Scan(views=options.views))
    columns = ["reading", "noise", *PARTS.values()]
    figures = [
        f"{np.median(s):.3f} ({min(s):.3f} to {max(s):.3f})"
        for s in (watch.seconds[column] for column in columns)
    ]
    size = " x ".join(map(str, shape))
    print("| machine | size | views | threads |", " | ".join(columns), "|")
    print("|---" * (4 + len(columns)) + "|")
    settings = [machine(), size, str(options.views), str(options.threads)]
    print("|", " | ".join(settings + figures), "|")


if __name__ == "__main__":
    main()
