"""Error, lesions and detectability on the LCD_CT low-contrast phantom, by method.

    python -m pipelines.lcd_phantom FOLDER [--methods lite,nlm,...]

FOLDER is ``fbp`` of the data set LCD_CT (DIDSR, CC0): ``ground_truth.raw`` and
``dose_*/signal_*/*.raw``, 256 x 256 little-endian 16 bit, value = HU + 1000. Judged is the inside
of the phantom, 6 pixels and more from its edge: nearer, the reconstruction is itself off the truth.
Classical methods are tuned, for each dose, on the images without lesions.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import center_of_mass, distance_transform_edt, label

from ctdenoise.denoiser import Denoiser, match_level
from ctdenoise.evaluation.methods import Method, Seen, parse_method
from ctdenoise.evaluation.observer import hotelling_auc, laguerre_gauss
from ctdenoise.hounsfield import HU, Mask
from ctdenoise.measured_noise import measure_noise

SHAPE = (256, 256)
MARGIN = 6
REGION = 25
TUNED_ON = 3
"""Images without lesions, of each dose, that a classical method is tuned on."""

CHANNELS = 3
"""As many as ten images of a kind allow."""


@dataclass(frozen=True)
class Lesion:
    """One of the phantom's lesions, and what it stands out from."""

    mask: Mask
    contrast: float

    @property
    def diameter(self) -> float:
        """In pixels, of a disc of its area."""
        return float(2.0 * np.sqrt(np.count_nonzero(self.mask) / np.pi))

    def regions(self, images: HU) -> HU:
        """Squares (N, REGION, REGION) of images (N, H, W) around it."""
        top, left = (round(c) - REGION // 2 for c in center_of_mass(self.mask))
        return images[:, top : top + REGION, left : left + REGION]


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


def phantom_table(methods: Sequence[Method], folder: Path) -> list[str]:
    """Markdown lines: RMSE over noisy, bias, and what each lesion keeps and how it is detected."""
    truth = read_raw(folder / "ground_truth.raw")
    mask = inside(truth)
    found, count = label(mask & (truth > 1.5))
    lesions = [Lesion(found == i, float(np.median(truth[found == i]))) for i in range(1, count + 1)]
    background = mask & (truth < 0.5)
    heads = [f"{x.contrast:.0f} HU, {x.diameter:.0f} px: contrast; AUC" for x in lesions]
    lines = [
        f"| dose | method | RMSE, HU | over noisy | bias, HU | {' | '.join(heads)} |",
        "|---" * (5 + count) + "|",
    ]
    for dose in sorted(folder.glob("dose_*")):
        absent, present = (
            np.stack([read_raw(path) for path in sorted((dose / f"signal_{kind}").glob("*.raw"))])
            for kind in ("absent", "present")
        )
        noisy_error = float(np.sqrt(np.mean((present - truth)[:, mask] ** 2)))
        flat = np.where(found > 0, 0.0, truth)
        for method in methods:
            setting = _tuned(method, absent[:TUNED_ON], flat, mask)
            made_absent, made = (
                np.stack([_denoise(method, image, setting) for image in part])
                for part in (absent, present)
            )
            error = float(np.sqrt(np.mean((made - truth)[:, mask] ** 2)))
            cells = [f"{dose.name.removeprefix('dose_').lstrip('0')} %", method.name]
            cells += [f"{error:.1f}", f"{error / noisy_error:.2f}"]
            cells.append(f"{np.mean((made - present)[:, mask]):+.2f}")
            for lesion in lesions:
                contrast = [
                    x.mean(0)[lesion.mask].mean() - x.mean(0)[background].mean()
                    for x in (present, made)
                ]
                channels = laguerre_gauss(REGION, lesion.diameter, CHANNELS)
                auc = hotelling_auc(lesion.regions(made), lesion.regions(made_absent), channels)
                cells.append(
                    f"{contrast[1] / contrast[0]:.0%}; {auc.auc:.2f} "
                    f"({auc.lower:.2f} to {auc.upper:.2f})"
                )
            lines.append(f"| {' | '.join(cells)} |")
    return lines


def _denoise(method: Method, image: HU, setting: float) -> HU:
    return method(Seen(image, np.zeros(image.shape, dtype=np.bool_), "ct", None), setting)


def _tuned(method: Method, absent: HU, truth: HU, mask: Mask) -> float:
    """The setting of least error on images (N, H, W) without lesions."""
    if len(method.settings) == 1:
        return method.settings[0]

    def error(setting: float) -> float:
        made = np.stack([_denoise(method, image, setting) for image in absent])
        return float(np.mean((made - truth)[:, mask] ** 2))

    return min(method.settings, key=error)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--methods", default="lite,identity")
    options = parser.parse_args()
    methods = [parse_method(name) for name in options.methods.split(",")]
    print("\n".join(phantom_table(methods, options.folder)))


if __name__ == "__main__":
    main()
