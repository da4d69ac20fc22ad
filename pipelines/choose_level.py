"""At which level a model should meet CT: the settings of its card, tried out.

    python -m pipelines.choose_level --model FILE --ct PATH ... [--sigma 0.08 0.1] [--scale 2 4]

For each combination of matched sigma, preserved scale and removal limit it prints, on slices of the
series at PATH with simulated low dose that adds 15, 30 and 60 HU: RMSE over that of the noisy
slices in soft tissue and lung, and the mean change of bone; and of lesions in the phantom at a
quarter of the dose, the contrast that they keep and the noise that is left. Use other patients than
those that the model is judged on. ``--write FILE`` writes the model with the last combination in
its card, whose tensors stay as they are.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from ctdenoise.denoiser import Denoiser, match_level
from ctdenoise.evaluation.noises import LOW_DOSE, Noise
from ctdenoise.evaluation.phantom import Phantom
from ctdenoise.measured_noise import measure_noise
from ctdenoise.models.files import save_model
from ctdenoise.models.registry import load
from pipelines.embedded_model import ADDED_HU, TISSUES, LowDose, simulate

QUARTER = Noise(LOW_DOSE, 0.25)


def row(denoiser: Denoiser, cases: Sequence[Sequence[LowDose]], phantom: Phantom) -> list[str]:
    """The figures of a denoiser as its card says, the cases by added noise."""
    cells = []
    bone = 0.0
    for alike in cases:
        made = [case.denoise(denoiser) for case in alike]
        for tissue in TISSUES:
            ratios = [
                case.ratio(image, case.masks()[tissue])
                for case, image in zip(alike, made, strict=True)
                if case.masks()[tissue].sum() > 5000
            ]
            cells.append(f"{np.mean(ratios):.3f}")
        changes = [
            (image - case.noisy)[case.masks()["bone"]]
            for case, image in zip(alike, made, strict=True)
        ]
        bone = float(np.mean(np.concatenate(changes)))
    cells.append(f"{bone:+.1f}")
    noisy = [
        np.stack([phantom.noisy(there, QUARTER, n) for n in range(phantom.scans)])
        for there in (False, True)
    ]
    padding = np.broadcast_to(phantom.padding, noisy[0].shape)
    level = match_level(denoiser.card, measure_noise(zip(noisy[0], padding, strict=True)))
    figures = phantom.figures(noisy, [denoiser(scans, padding, level) for scans in noisy])
    shown = ("contrast_kept", "auc", "noise_ratio", "ttf_half")
    cells += [f"{f.value:.2f}" for name in shown for f in figures if f.metric == name]
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--ct", type=Path, nargs="+", required=True)
    parser.add_argument("--slices", type=int, default=1, help="of each series")
    parser.add_argument("--sigma", type=float, nargs="+", default=[0.08, 0.1])
    parser.add_argument("--scale", type=float, nargs="+", default=[2.0, 4.0])
    parser.add_argument("--limit", type=float, nargs="+", default=[1.5])
    parser.add_argument("--local", action="store_true", help="follow the noise of the place")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    cases = [
        [simulate(path, slices=options.slices, added=added) for path in options.ct]
        for added in ADDED_HU
    ]
    phantom = Phantom(20)
    doses = [f"{tissue.split('_')[0]} +{added:g}" for added in ADDED_HU for tissue in TISSUES]
    heads = ["sigma, scale, limit", *doses, "bone, HU", "contrast 5, 8, 12 mm | | "]
    heads += ["AUC | | ", "noise", "TTF -100, 50, 150, 800 HU | | | "]
    print(f"| {' | '.join(heads)} |")
    print("|---" * (1 + 6 + 1 + 3 + 3 + 1 + 4) + "|")
    model = load(options.model)
    for sigma, scale, limit in product(options.sigma, options.scale, options.limit):
        card = replace(
            model.card,
            matched_sigma=sigma,
            preserved_scale=scale,
            removal_limit=limit,
            local_level=options.local,
        )
        denoiser = Denoiser(replace(model, card=card), device="cpu", threads=options.threads)
        cells = row(denoiser, cases, phantom)
        print(f"| {sigma:g}, {scale:g}, {limit:g} | {' | '.join(cells)} |", flush=True)
    if options.write is not None:
        save_model(options.write, model.network, card)


if __name__ == "__main__":
    main()
