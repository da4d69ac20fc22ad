"""What the decoder's width buys: quality against operations, by trainings of equal steps.

    python -m pipelines.compare_widths --data PHOTOGRAPHS --encoder FILE --output runs/widths \
        --test CBSD68 --ct CRLM_1004 A0002_B40F

trains decoders of several widths on one frozen encoder, goes on where it was interrupted, prints a
Markdown table, and plots it with ``--plot FILE.png``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch.utils.flop_counter import FlopCounterMode

from ctdenoise.denoiser import Denoiser
from ctdenoise.evaluation.images import Reference, references
from ctdenoise.models.files import LoadedModel, load_model
from pipelines.compare_encoders import SMALL_STEPS, learn
from pipelines.embedded_model import ADDED_HU, LowDose, photographs_psnr, simulate

WIDTHS = (
    (256, 128, 64, 32, 32),
    (256, 128, 64, 32, 16),
    (256, 128, 64, 16, 8),
    (128, 64, 32, 16, 16),
    (64, 32, 16, 16, 8),
)
"""Channels of the decoder's blocks, from 1/16 of the size to the full one; first the paper's."""

NOISES = (("gaussian", 25.0), ("spatial", 55.0), ("poisson", 3.5), ("salt-pepper", 0.02))
SLICE = (512, 512)


@dataclass(frozen=True)
class Point:
    """A decoder on the curve."""

    widths: tuple[int, ...]
    gflop: float
    psnr: tuple[float, ...]
    ratio: float

    def line(self) -> str:
        cells = [" ".join(map(str, self.widths)), f"{self.gflop:.1f}"]
        cells += [f"{value:.2f}" for value in self.psnr]
        return f"| {' | '.join([*cells, f'{self.ratio:.3f}'])} |"


def gigaflops(model: LoadedModel) -> float:
    """Operations of a slice, in 10^9, as the network is written down; an addition is one too."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.network(torch.zeros(1, 1, *SLICE))
    return float(counter.get_total_flops()) / 1e9


def judge(path: Path, photographs: Sequence[Reference], cases: Sequence[LowDose]) -> Point:
    """Quality and operations of a model."""
    model = load_model(path)
    denoiser = Denoiser(model, device="cpu", backend="torch")
    ratios = [
        case.ratio(case.denoise(denoiser), case.masks()["fat_and_soft_tissue"]) for case in cases
    ]
    decoder = model.network.get_submodule("decoder")
    blocks = [decoder.get_submodule("bottom"), *decoder.get_submodule("blocks").children()]
    widths = tuple(int(block[0].out_channels) for block in blocks)  # type: ignore[index]
    psnr = tuple(photographs_psnr(denoiser, photographs, *noise)[1] for noise in NOISES)
    return Point(widths, gigaflops(model), psnr, float(np.mean(ratios)))


def plot(points: Sequence[Point], path: Path) -> None:
    """PSNR of each noise, less that of the widest, over operations."""
    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axis = figure.subplots()
    at = [point.gflop for point in points]
    for i, (name, strength) in enumerate(NOISES):
        loss = [point.psnr[i] - points[0].psnr[i] for point in points]
        axis.plot(at, loss, "o-", label=f"{name} {strength:g}")
    axis.set_xlabel("GFLOP a slice of 512 x 512")
    axis.set_ylabel("PSNR against the paper's widths, dB")
    axis.legend(fontsize=8)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="photographs to learn from")
    parser.add_argument("--encoder", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True, help="photographs to test on")
    parser.add_argument("--ct", type=Path, nargs="+", required=True, help="series of full dose")
    parser.add_argument("--every", type=int, default=4, help="test on every n-th photograph")
    parser.add_argument("--iterations", type=int, default=3000)
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    photographs = references([options.test])[:: options.every]
    cases = [simulate(path, slices=1, added=added) for path in options.ct for added in ADDED_HU]
    points = []
    for widths in WIDTHS:
        name = "-".join(map(str, widths))
        settings = [f"iterations={options.iterations}", *SMALL_STEPS, f"encoder={options.encoder}"]
        settings.append(f"decoder_widths={list(widths)}")
        model = learn(options.data, options.output / name, "train_lite", "lite", *settings)
        points.append(judge(model, photographs, cases))
    noises = [f"{name} {strength:g}, dB" for name, strength in NOISES]
    heads = ["decoder's widths", "GFLOP", *noises, "CT: RMSE over noisy, soft"]
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for point in points:
        print(point.line())
    if options.plot is not None:
        plot(points, options.plot)


if __name__ == "__main__":
    main()
