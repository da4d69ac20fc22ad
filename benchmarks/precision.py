"""What a number format of few bits changes, in HU."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.document import Section, Table, target
from benchmarks.inputs import SAMPLE
from benchmarks.network import backends
from benchmarks.setting import Setting
from ctdenoise.backends.base import Precision

MOST_IN_MEAN, MOST_AT_999 = 0.5, 5.0
_PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


def precision_section(setting: Setting) -> Section:
    """Models in bf16 against fp32, on slices of the sample series."""
    from ctdenoise.denoiser import Denoiser, match_level
    from ctdenoise.measured_noise import measure_noise
    from ctdenoise.models.files import load_model
    from ctdenoise.models.registry import load
    from ctdenoise.series.pixels import read_image

    images = [read_image(path) for path in sorted(SAMPLE.glob("*.dcm"))]
    hu = np.concatenate([image.hu for image in images])
    padding = np.concatenate([image.padding for image in images])
    noise = measure_noise(zip(hu, padding, strict=True))
    wide = load_model(Path(setting.checkpoint(64)))
    rows, met = [], True
    for title, model, slices in (
        ("lite", load("lite"), len(hu)),
        ("width 64 (random weights)", wide, 2),
    ):
        some = (hu[:slices], padding[:slices], match_level(model.card, noise))
        for backend in backends():
            fp32, bf16 = (
                Denoiser(model, device="cpu", precision=precision, backend=backend)(*some)
                for precision in _PRECISIONS
            )
            change = np.abs(bf16 - fp32)
            mean, high = float(change.mean()), float(np.percentile(change, 99.9))
            if title == "lite":
                met &= mean < MOST_IN_MEAN and high < MOST_AT_999
            figures = (mean, high, change.max(), np.abs(fp32 - some[0]).mean())
            rows.append((title, backend, str(slices), *(f"{x:.2f}" for x in figures)))
    columns = ("model", "backend", "slices", "mean", "99.9th percentile", "most", "mean denoised")
    most = f"{MOST_IN_MEAN:g} HU in the mean, {MOST_AT_999:g} HU at the 99.9th percentile"
    return Section(
        title="Half the bits, in HU",
        said=(
            "In bf16 against fp32, on slices of the sample series: absolute difference in HU, and "
            "beside it what is denoised at all. Random weights denoise nothing: they change a "
            "slice by hundreds of HU, and their rounding is in proportion to that.",
        ),
        tables=(Table(columns, tuple(rows)),),
        notes=(target(f"lite: under {most}", met=met),),
    )
