"""Which encoder stands in for CLIP: the same decoder on several, by trainings of equal budget.

    python -m pipelines.compare_encoders --data PHOTOGRAPHS --output runs/encoders \
        --test CBSD68 --ct CRLM_1004 A0002_B40F

trains what is not in the output folder yet (it goes on where it was interrupted), and prints a
Markdown table. A DnCNN with the same photographs and noise is compared as well; its patches are a
quarter as large, as a step of it costs more than twice the time. Last is the embedded model.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ctdenoise.cli import main as ctdenoise
from ctdenoise.denoiser import Denoiser
from ctdenoise.evaluation.images import Reference, references
from ctdenoise.models.registry import load
from pipelines.embedded_model import (
    ADDED_HU,
    NOISE_LEVELS,
    TISSUES,
    LowDose,
    photographs_psnr,
    simulate,
)

NAMES = {
    "random": "random, frozen",
    "contrastive": "dense InfoNCE, then frozen",
    "denoising": "denoising, then frozen",
    "end-to-end": "end to end",
    "dncnn": "DnCNN, no encoder",
    "lite": "the embedded model, trained for longer",
}


SMALL_STEPS = ("batch_size=4", "patch_size=96", "optimizer#lr=8e-4", "lr_scheduler#max_lr=8e-4")
"""What of ``train_lite`` is another on a CPU, where its own steps would take days."""


def learn(data: Path, output: Path, recipe: str, model: str, *settings: str) -> Path:
    """Train what is not there yet, and give its file; the first setting is ``iterations``."""
    if not (output / f"checkpoint_{settings[0].split('=')[1]}.pt").exists():
        where = ["--data", str(data), "--output", str(output)]
        if ctdenoise(["train", "--config", recipe, *where, *settings]) != 0:
            raise SystemExit(f"{output}: the training failed")
    return output / f"{model}.safetensors"


def train(data: Path, output: Path, steps: int, dncnn_steps: int) -> dict[str, Path]:
    """Train all, and give their files."""

    def one(name: str, recipe: str, model: str, *settings: str) -> Path:
        return learn(data, output / name, recipe, model, *settings)

    budget = f"iterations={steps}"
    lite = ("train_lite", "lite", budget, *SMALL_STEPS)
    # A step of the pre-training costs about 1.7 times the decoder's: so much time again.
    pretraining = f"iterations={steps * 7 // 12}"
    encoder = one("contrastive-encoder", "pretrain_lite", "lite-encoder", pretraining)
    whole = one("end-to-end", *lite, "encoder=random", "network_def#frozen=false")
    return {
        "random": one("random", *lite, "encoder=random"),
        "contrastive": one("contrastive", *lite, f"encoder={encoder}"),
        "denoising": one("denoising", *lite, f"encoder={whole}"),
        "end-to-end": whole,
        "dncnn": one("dncnn", "train_dncnn", "dncnn", f"iterations={dncnn_steps}"),
    }


def table(
    models: dict[str, Path], photographs: Sequence[Reference], cases: Sequence[LowDose]
) -> None:
    """PSNR in dB on photographs; RMSE over the noisy one's on simulated low dose."""
    noises = [f"{name} {strength:g}" for name, strength in NOISE_LEVELS]
    doses = [f"{tissue} +{added:g} HU" for tissue in ("soft", "lung") for added in ADDED_HU]
    print(f"| encoder | {' | '.join([*noises, *doses])} |")
    print("|---" * (1 + len(noises) + len(doses)) + "|")
    shipped = load("lite").card
    for name, path in models.items():
        model = load(str(path))
        # All meet CT in the same way.
        levels = {
            field: getattr(shipped, field)
            for field in ("matched_sigma", "preserved_scale", "removal_limit", "stride")
        }
        denoiser = Denoiser(replace(model, card=replace(model.card, **levels)), device="cpu")
        row = [f"{photographs_psnr(denoiser, photographs, *n)[1]:.2f}" for n in NOISE_LEVELS]
        ratios: dict[tuple[str, int], list[float]] = {}
        for i, case in enumerate(cases):
            denoised, masks = case.denoise(denoiser), case.masks()
            for tissue in TISSUES:
                ratio = case.ratio(denoised, masks[tissue])
                ratios.setdefault((tissue, i % len(ADDED_HU)), []).append(ratio)
        for tissue in TISSUES:
            for i in range(len(ADDED_HU)):
                row.append("/".join(f"{ratio:.2f}" for ratio in ratios[tissue, i]))
        print(f"| {NAMES[name]} | {' | '.join(row)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="photographs to learn from")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True, help="photographs to test on")
    parser.add_argument("--ct", type=Path, nargs="+", required=True, help="series of full dose")
    parser.add_argument("--slices", type=int, default=2, help="of each CT series")
    parser.add_argument("--every", type=int, default=4, help="test on every n-th photograph")
    parser.add_argument("--iterations", type=int, default=3000)
    parser.add_argument("--dncnn-iterations", type=int, default=9000)
    options = parser.parse_args()
    models = train(options.data, options.output, options.iterations, options.dncnn_iterations)
    models["lite"] = Path("lite")
    photographs = references([options.test])[:: options.every]
    cases = [
        simulate(folder, slices=options.slices, added=added)
        for folder in options.ct
        for added in ADDED_HU
    ]
    table(models, photographs, cases)


if __name__ == "__main__":
    main()
