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
from scipy.ndimage import distance_transform_edt

from ctdenoise.denoiser import Denoiser, match_level
from ctdenoise.hounsfield import HU, noise_level, series_noise_level
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
    noise = series_noise_level([noise_level(s, p) for s, p in zip(slices, padding, strict=True)])
    return denoiser(slices, padding, match_level(denoiser.card, noise))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    options = parser.parse_args()
    denoiser = Denoiser(load(options.model), precision=options.precision)
    truth = read_raw(options.folder / "ground_truth.raw")
    mask = inside(truth)
    lesions = mask & (truth > 1.5)
    background = mask & (truth < 0.5)
    print(
        "| dose | slices | RMSE before, HU | after, HU | ratio | bias, HU | lesion contrast kept |"
    )
    print("|---|---|---|---|---|---|---|")
    for folder in sorted(options.folder.glob("dose_*")):
        files = sorted(folder.rglob("*.raw"))
        noisy = np.stack([read_raw(path) for path in files])
        denoised = denoise_as_a_series(denoiser, noisy)
        before, after = (np.sqrt(np.mean((x - truth)[:, mask] ** 2)) for x in (noisy, denoised))
        bias = np.mean((denoised - truth)[:, mask])
        present = np.array(["present" in path.name for path in files])
        contrast = [
            np.mean(x[present][:, lesions]) - np.mean(x[present][:, background])
            for x in (noisy, denoised)
        ]
        print(
            f"| {folder.name.removeprefix('dose_')} % | {len(files)} | {before:.1f} | {after:.1f} "
            f"| {after / before:.2f} | {bias:+.2f} | {contrast[1] / contrast[0]:.0%} |"
        )


if __name__ == "__main__":
    main()
