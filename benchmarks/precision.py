"""What a number format of few bits changes, in HU."""

from __future__ import annotations

import numpy as np

from benchmarks.document import Section, Table, target
from benchmarks.inputs import SAMPLE
from benchmarks.network import backends

MOST_IN_MEAN, MOST_AT_999 = 0.5, 5.0


def precision_section() -> Section:
    """The embedded model in bf16 against fp32, on the sample series."""
    from ctdenoise.denoiser import Denoiser, match_level
    from ctdenoise.measured_noise import measure_noise
    from ctdenoise.models.registry import load
    from ctdenoise.series.pixels import read_image

    images = [read_image(path) for path in sorted(SAMPLE.glob("*.dcm"))]
    hu = np.concatenate([image.hu for image in images])
    padding = np.concatenate([image.padding for image in images])
    lite = load("lite")
    level = match_level(lite.card, measure_noise(zip(hu, padding, strict=True)))
    rows, met = [], True
    for backend in backends():
        fp32, bf16 = (
            Denoiser(lite, device="cpu", precision=precision, backend=backend)(hu, padding, level)
            for precision in ("fp32", "bf16")
        )
        change = np.abs(bf16 - fp32)
        mean, high = float(change.mean()), float(np.percentile(change, 99.9))
        met &= mean < MOST_IN_MEAN and high < MOST_AT_999
        cells = [f"{x:.2f}" for x in (mean, high, change.max(), np.abs(fp32 - hu).mean())]
        rows.append((backend, *cells))
    return Section(
        title="Half the bits, in HU",
        said=(
            f"The embedded model in bf16 against fp32, on the {len(hu)} slices of the sample "
            "series: absolute difference in HU, and beside it what is denoised at all.",
        ),
        tables=(
            Table(("backend", "mean", "99.9th percentile", "most", "mean denoised"), tuple(rows)),
        ),
        notes=(
            target(
                f"under {MOST_IN_MEAN:g} HU in the mean, {MOST_AT_999:g} HU at the 99.9th "
                "percentile",
                met=met,
            ),
        ),
    )
