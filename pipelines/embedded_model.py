"""The figures of a model: photographs, simulated low dose against tuned peers, and a phantom.

    python -m pipelines.embedded_model --photographs CBSD68 --ct CRLM_1004 A0002_B40F --lcd LCD/fbp

prints three Markdown tables. Peers are tuned on the very slices that they are judged on, one
setting for each series and level, by the error in soft tissue and again by that in lung: more than
any of them gets in use. The reference of the simulated low dose has noise of its own; what a
perfect denoiser would leave, all of that noise, is the column "floor".
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ctdenoise.denoiser import Denoiser, match_level
from ctdenoise.evaluation.images import Reference, references
from ctdenoise.evaluation.methods import parse_method
from ctdenoise.evaluation.metrics import psnr
from ctdenoise.evaluation.peers import PEERS, Tunable, bm3d_with_spectrum
from ctdenoise.evaluation.summary import NOISY
from ctdenoise.hounsfield import AIR, HU, TISSUE_CLASSES, Mask, tissue_masks
from ctdenoise.measured_noise import measure_noise
from ctdenoise.models.registry import load
from ctdenoise.noise.low_dose import Scan, calibrate, low_dose_noise
from ctdenoise.noise.photographic import NOISES
from ctdenoise.series import find
from ctdenoise.series.model import spread
from ctdenoise.series.read import read
from ctdenoise.simulate import pixel_spacing
from pipelines.lcd_phantom import phantom_table

NOISE_LEVELS = (
    ("gaussian", 15.0),
    ("gaussian", 25.0),
    ("gaussian", 50.0),
    ("spatial", 55.0),
    ("poisson", 3.5),
    ("speckle", 0.04),
    ("salt-pepper", 0.02),
)
ADDED_HU = (15.0, 30.0, 60.0)
TISSUES = ("fat_and_soft_tissue", "lung")


def photographs_table(denoiser: Denoiser, folder: Path) -> None:
    """PSNR in dB of gray photographs, noisy and denoised, clipped to [0, 1]."""
    print("| noise | noisy, dB | denoised, dB |\n|---|---|---|")
    for name, strength in NOISE_LEVELS:
        before, after = photographs_psnr(denoiser, references([folder]), name, strength)
        print(f"| {name} {strength:g} | {before:.2f} | {after:.2f} |", flush=True)


def photographs_psnr(
    denoiser: Denoiser, photographs: Sequence[Reference], noise: str, strength: float
) -> tuple[float, float]:
    """Mean PSNR in dB of gray photographs with a noise, and denoised."""
    before, after = [], []
    for photograph in photographs:
        clean, _ = photograph.load()
        noisy = NOISES[noise](clean, strength, np.random.default_rng(0))
        denoised = denoiser.infer(noisy[None].astype(np.float32))[0].astype(np.float64)
        before.append(psnr(clean, np.clip(noisy, 0.0, 1.0)))
        after.append(psnr(clean, np.clip(denoised, 0.0, 1.0)))
    return float(np.mean(before)), float(np.mean(after))


@dataclass(frozen=True)
class LowDose:
    """Slices (N, H, W) of a series in HU, and the same with noise of a lower dose."""

    reference: HU
    padding: Mask
    noisy: HU
    dose: float
    own_noise: float

    def denoise(self, denoiser: Denoiser) -> HU:
        """At the level of the noise that the noisy slices have."""
        noise = measure_noise(zip(self.noisy, self.padding, strict=True))
        return denoiser(self.noisy, self.padding, match_level(denoiser.card, noise))

    def masks(self) -> dict[str, Mask]:
        """The tissue classes (N, H, W) of the reference."""
        each = [tissue_masks(h, p) for h, p in zip(self.reference, self.padding, strict=True)]
        return {name: np.stack([found[name] for found in each]) for name in TISSUE_CLASSES}

    def ratio(self, image: HU, mask: Mask) -> float:
        """RMSE to the reference within ``mask``, over that of the noisy slices."""
        after, before = ((x - self.reference)[mask] for x in (image, self.noisy))
        return float(np.sqrt(np.mean(after**2) / np.mean(before**2)))


def simulate(folder: Path, *, slices: int, added: float) -> LowDose:
    """Bring a series to the dose at which noise of ``added`` HU is added in soft tissue."""
    series = find(folder).series[0]
    chosen = [series.instances[place] for place in spread(len(series.instances), slices)]
    images = [read(series, instance) for instance in chosen]
    padding = np.concatenate([image.padding for image in images])
    hu = np.where(padding, AIR, np.concatenate([image.hu for image in images]))
    spacing = pixel_spacing(series)
    pairs = list(zip(hu, padding, strict=True))
    measured = measure_noise(pairs)
    if measured is None:
        raise ValueError(f"{folder}: no soft tissue to measure noise in")
    own = measured.sigma
    scan = calibrate(Scan(), pairs, spacing=spacing, noise=own)
    masks = [tissue_masks(*pair)["fat_and_soft_tissue"] for pair in pairs]

    def noises(dose: float) -> list[HU]:
        return [
            low_dose_noise(
                h, p, spacing=spacing, dose=dose, scan=scan, rng=np.random.default_rng(i)
            )
            for i, (h, p) in enumerate(pairs)
        ]

    dose = 1.0 / (1.0 + (added / own) ** 2)
    for _ in range(3):
        sample = noises(dose)
        got = np.std(np.concatenate([n[m] for n, m in zip(sample, masks, strict=True)]))
        dose = 1.0 / (1.0 + (1.0 / dose - 1.0) * (added / got) ** 2)
    return LowDose(hu, padding, hu + np.stack(noises(dose)) * ~padding, dose, own)


def low_dose_table(denoiser: Denoiser, folders: Sequence[Path], slices: int) -> None:
    """RMSE over the noisy input's, in soft tissue and in lung, and the largest mean bias."""
    names = [*PEERS, "bm3d, true spectrum"]
    print(
        f"| series, added noise (dose) | tissue | floor | model | {' | '.join(names)} | bias, HU |"
    )
    print("|---" * (len(names) + 5) + "|")
    for folder in folders:
        for added in ADDED_HU:
            case = simulate(folder, slices=slices, added=added)
            denoised = case.denoise(denoiser)
            masks = case.masks()
            bias = max(
                (float(np.mean((denoised - case.noisy)[m])) for m in masks.values() if m.any()),
                key=abs,
            )
            peers = _tuned(case, [masks[tissue] for tissue in TISSUES])
            for i, tissue in enumerate(TISSUES):
                mask = masks[tissue]
                floor = case.own_noise / added if i == 0 else float("nan")
                row = [case.ratio(denoised, mask), *(peer[i] for peer in peers)]
                print(
                    f"| {folder.name}, {added:g} HU ({case.dose:.0%}) | {tissue} | {floor:.2f} | "
                    + " | ".join(f"{value:.2f}" for value in row)
                    + f" | {bias:+.2f} |",
                    flush=True,
                )


def _tuned(case: LowDose, masks: Sequence[Mask]) -> list[list[float]]:
    """The best ratio in each mask of each peer, over its settings."""
    noises = list(case.noisy - case.reference)
    spectrum = Tunable(bm3d_with_spectrum(noises), (1.0, 1.5))
    sigma = float(np.std((case.noisy - case.reference)[masks[0]]))
    best = []
    for peer in [*PEERS.values(), spectrum]:
        ratios = []
        for setting in peer.settings:
            image = np.stack([peer.denoise(hu, sigma, setting) for hu in case.noisy])
            ratios.append([case.ratio(image, mask) for mask in masks])
        best.append([min(column) for column in zip(*ratios, strict=True)])
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--ct", type=Path, nargs="*", default=[])
    parser.add_argument("--slices", type=int, default=3, help="of each CT series")
    parser.add_argument("--lcd", type=Path)
    options = parser.parse_args()
    model = load(options.model)
    denoiser = Denoiser(model, precision=options.precision, device="cpu")
    if options.photographs is not None:
        photographs_table(denoiser, options.photographs)
        print()
    if options.ct:
        low_dose_table(denoiser, options.ct, options.slices)
        print()
    if options.lcd is not None:
        methods = [parse_method(name) for name in (NOISY, options.model)]
        print("\n".join(phantom_table(methods, options.lcd)))


if __name__ == "__main__":
    main()
