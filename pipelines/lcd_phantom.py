"""Error against the truth of the LCD_CT low-contrast phantom, before and after denoising.

    python -m pipelines.lcd_phantom FOLDER [--model NAME|FILE] [--precision fp32|bf16]

FOLDER is ``fbp`` of the data set LCD_CT (DIDSR, CC0): ``ground_truth.raw`` and
``dose_*/signal_*/*.raw``, 256 x 256 little-endian 16 bit, value = HU + 1000. Judged is the inside
of the phantom, 6 pixels and more from its edge: nearer, the reconstruction is itself off the truth.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, label

from ctdenoise.denoiser import Denoiser, match_level
from ctdenoise.hounsfield import HU
from ctdenoise.measured_noise import measure_noise
from ctdenoise.models.registry import load

SHAPE = (256, 256)
MARGIN = 6


def read_raw(path: Path) -> HU:
    """A slice in HU (256, 256)."""
    stored = np.fromfile(path, dtype="<i2").reshape(SHAPE)
    return np.asarray(stored - 1000.0, dtype=np.float64)


def inside(truth: HU) -> NDArray[np.bool_]:
    """The inside of the phantom, away from its edge."""
    return np.asarray(distance_transform_edt(truth > -500.0) > MARGIN, dtype=np.bool_)


def denoise_as_a_series(denoiser: Denoiser, slices: HU) -> HU:
    """Denoise slices (N, H, W) of one dose at the level of their own noise."""
    padding = np.zeros(slices.shape, dtype=np.bool_)
    noise = measure_noise(zip(slices, padding, strict=True))
    return denoiser(slices, padding, match_level(denoiser.card, noise))


def phantom_table(denoiser: Denoiser, folder: Path) -> None:
    """RMSE against the phantom's truth, and the contrast kept of each of its lesions."""
    truth = read_raw(folder / "ground_truth.raw")
    mask = inside(truth)
    lesions, count = label(mask & (truth > 1.5))
    background = mask & (truth < 0.5)
    heads = [f"lesion of {np.median(truth[lesions == i]):.0f} HU" for i in range(1, count + 1)]
    print(f"| dose | before, HU | after, HU | ratio | bias, HU | {' | '.join(heads)} |")
    print("|---" * (count + 5) + "|")
    for dose in sorted(folder.glob("dose_*")):
        noisy = np.stack([read_raw(p) for p in sorted((dose / "signal_present").glob("*.raw"))])
        denoised = denoise_as_a_series(denoiser, noisy)
        before, after = (np.sqrt(np.mean((x - truth)[:, mask] ** 2)) for x in (noisy, denoised))
        bias = np.mean((denoised - truth)[:, mask])
        kept = []
        for i in range(1, count + 1):
            there = lesions == i
            contrast = [
                x.mean(0)[there].mean() - x.mean(0)[background].mean() for x in (noisy, denoised)
            ]
            kept.append(f"{contrast[1] / contrast[0]:.0%}")
        name = dose.name.removeprefix("dose_")
        print(
            f"| {name} % | {before:.1f} | {after:.1f} | {after / before:.2f} | {bias:+.2f} | "
            + " | ".join(kept)
            + " |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    options = parser.parse_args()
    phantom_table(Denoiser(load(options.model), precision=options.precision), options.folder)


if __name__ == "__main__":
    main()
