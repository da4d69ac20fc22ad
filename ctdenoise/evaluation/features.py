"""What an encoder makes of noise: the paper's analysis of dense features, for any encoder.

Source: Cheng, Liang, Tan, "Transfer CLIP for Generalizable Image Denoising", CVPR 2024, section
3.1; Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019 (CKA).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import nn

from ctdenoise.derived.atomic import atomic_file, create_folder
from ctdenoise.errors import CTDenoiseError
from ctdenoise.evaluation.images import Reference
from ctdenoise.evaluation.noises import PAPER_WINDOW, Noise
from ctdenoise.evaluation.subjects import noisy_image
from ctdenoise.models.files import encoder_of, fill
from ctdenoise.models.registry import CLIP_RN50, EMBEDDED, clip_file, load
from ctdenoise.models.tensors import read_tensors
from ctdenoise.networks import DenseEncoder
from ctdenoise.progress import Progress

Features = NDArray[np.float64]
"""Of one stage: (places, channels)."""

SUPERVISED = "resnet50"
LARGEST = 256
"""Sides of what is looked at, from the middle of each image, in pixels at most."""

_STEP = 32


class SupervisedResNet50(nn.Module):
    """Torchvision's ResNet50 with weights of a file, up to its third stage.

    Raises:
        CTDenoiseError: the file holds other tensors.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        from torchvision.models import resnet50

        network = resnet50(weights=None)
        fill(path, network, read_tensors(path)[0], what="a ResNet50 of torchvision")
        self.stem = nn.Sequential(network.conv1, network.bn1, network.relu)
        self.pool = network.maxpool
        self.stages = nn.ModuleList([network.layer1, network.layer2, network.layer3])

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        """F1 (B, 64, H/2, W/2) to F4 (B, 1024, H/16, W/16) of ``image`` (B, 3, H, W)."""
        found = [self.stem(image)]
        x = self.pool(found[0])
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


def parse_encoder(text: str, clip_weights: str | None = None) -> nn.Module:
    """An encoder by name, in eval mode.

    Args:
        text: ``random``, ``clip-rn50`` with ``clip_weights``, ``resnet50:FILE``, an embedded
            model, or a file that holds a denoiser or an encoder of CLIP's shape.
        clip_weights: a file, or a name that open_clip downloads.

    Raises:
        CTDenoiseError: there is no such encoder.
    """
    if text == "random":
        torch.manual_seed(0)
        encoder: nn.Module = DenseEncoder(32)
    elif text == CLIP_RN50:
        if not clip_weights:
            raise CTDenoiseError(f"--model {CLIP_RN50} needs --clip-weights FILE")
        encoder = encoder_of(clip_file(clip_weights))
    elif text.startswith(f"{SUPERVISED}:"):
        encoder = SupervisedResNet50(_existing(text.partition(":")[2]))
    elif text in EMBEDDED:
        encoder = load(text).network.get_submodule("encoder")
    else:
        encoder = encoder_of(_existing(text))
    return encoder.eval()


def _existing(text: str) -> Path:
    if not Path(text).is_file():
        raise CTDenoiseError(
            f"--model {text}: no such file; use random, {CLIP_RN50}, {SUPERVISED}:FILE, "
            f"{', '.join(EMBEDDED)}, or a file"
        )
    return Path(text)


def cosine(a: Features, b: Features) -> float:
    """Mean over places of the cosine between their features."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.mean(np.sum(a * b, axis=1) / np.maximum(norms, 1e-12)))


def linear_cka(a: Features, b: Features) -> float:
    """Linear centred kernel alignment over places: 1 for the same up to rotation and scale."""
    a, b = a - a.mean(0), b - b.mean(0)
    cross = np.linalg.norm(a.T @ b) ** 2
    own = np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)
    return float(cross / own) if own > 0 else float("nan")


MEASURES: dict[str, Callable[[Features, Features], float]] = {"cosine": cosine, "cka": linear_cka}


def analyse(
    encoder: nn.Module,
    images: Sequence[Reference],
    noises: Sequence[Noise],
    output: Path,
    progress: Progress,
) -> str:
    """Write ``features.csv``, ``tsne.csv``, and both as PNG and SVG; returns a Markdown table.

    Clean features of an image are compared with those of itself with noise, and with those of the
    next image with noise: an encoder is worth freezing where the first are alike, the second not.

    Raises:
        CTDenoiseError: there are fewer than two images, or one cannot be used.
    """
    if len(images) < 2:
        raise CTDenoiseError("similarity needs two images or more, to tell same from different")
    loaded = [image.load() for image in images]
    side = min(LARGEST, *(min(hu.shape) for hu, _ in loaded)) // _STEP * _STEP
    if side < _STEP:
        raise CTDenoiseError(f"images must have {_STEP} pixels a side or more")
    create_folder(output)
    progress.start("features", len(images))
    clean, noisy = [], []
    for image, (hu, _) in zip(images, loaded, strict=True):
        clean.append(_features(encoder, image, hu, side))
        noisy.append(
            [
                _features(encoder, image, noisy_image(image, noise, 0)[2].noisy, side)
                for noise in noises
            ]
        )
        progress.advance(1)
    progress.finish()
    rows = []
    for i, image in enumerate(images):
        for n, noise in enumerate(noises):
            for pair, other in (("same", noisy[i][n]), ("different", noisy[i - 1][n])):
                for stage, (a, b) in enumerate(zip(clean[i], other, strict=True), start=1):
                    for name, measure in MEASURES.items():
                        rows.append(
                            (image.name, str(noise), f"F{stage}", name, pair, measure(a, b))
                        )
    _write(output / "features.csv", ("image", "noise", "stage", "measure", "pair", "value"), rows)
    stages = [f"F{i}" for i in range(1, len(clean[0]) + 1)]
    means = {
        (str(noise), stage, name, pair): float(
            np.mean([r[5] for r in rows if r[1:5] == (str(noise), stage, name, pair)])
        )
        for noise in noises
        for stage in stages
        for name in MEASURES
        for pair in ("same", "different")
    }
    _save(_similarity(means, [str(n) for n in noises], stages), output / "features")
    _tsne(clean, noisy, images, noises, output)
    lines = [f"| noise, measure | {' | '.join(stages)} |", "|---" * (len(stages) + 1) + "|"]
    for said in map(str, noises):
        for name in MEASURES:
            pairs = [[means[said, s, name, p] for p in ("same", "different")] for s in stages]
            cells = [f"{same:.3f} / {different:.3f}" for same, different in pairs]
            lines.append(f"| {said}, {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _features(
    encoder: nn.Module, reference: Reference, image: NDArray[np.float64], side: int
) -> list[Features]:
    top, left = ((size - side) // 2 for size in image.shape)
    part = image[top : top + side, left : left + side]
    unit = part if reference.kind == "photograph" else PAPER_WINDOW.to_unit(part)
    seen = torch.from_numpy(unit.astype(np.float32))[None, None].expand(-1, 3, -1, -1)
    with torch.inference_mode():
        found = encoder(seen)
    return [f[0].flatten(1).T.numpy().astype(np.float64) for f in found]


def _similarity(
    means: dict[tuple[str, str, str, str], float], noises: Sequence[str], stages: Sequence[str]
) -> Figure:
    figure = Figure(figsize=(4.5 * len(MEASURES), 3.2), layout="constrained")
    for axis, name in zip(figure.subplots(1, len(MEASURES)), MEASURES, strict=True):
        for n, noise in enumerate(noises):
            for pair, style in (("same", "o-"), ("different", "x:")):
                values = [means[noise, stage, name, pair] for stage in stages]
                axis.plot(stages, values, style, color=f"C{n % 10}", label=f"{noise}, {pair}")
        axis.set_title(f"{name}, clean against noisy")
        axis.set_ylim(top=1.02)
    axis.legend(fontsize=6)
    return figure


def _tsne(
    clean: Sequence[list[Features]],
    noisy: Sequence[Sequence[list[Features]]],
    images: Sequence[Reference],
    noises: Sequence[Noise],
    output: Path,
) -> None:
    """Deepest features, averaged over places, of all images with every noise, in two dimensions."""
    from sklearn.manifold import TSNE

    labels, points = [], []
    for i, image in enumerate(images):
        for noise, found in [("clean", clean[i]), *zip(map(str, noises), noisy[i], strict=True)]:
            labels.append((i, image.name, noise))
            points.append(found[-1].mean(0))
    perplexity = min(5.0, (len(points) - 1) / 3)
    at = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(np.stack(points))
    rows = [(name, noise, *map(float, p)) for (_, name, noise), p in zip(labels, at, strict=True)]
    _write(output / "tsne.csv", ("image", "noise", "x", "y"), rows)
    figure = Figure(figsize=(5, 4.5), layout="constrained")
    axis = figure.subplots()
    kinds = ["clean", *map(str, noises)]
    for k, kind in enumerate(kinds):
        mine = [n for n, label in enumerate(labels) if label[2] == kind]
        colours = [f"C{labels[n][0] % 10}" for n in mine]
        axis.scatter(
            at[mine, 0], at[mine, 1], c=colours, marker="osv^D*PX<>"[k % 10], s=18, label=kind
        )
    axis.set_title("t-SNE of F4; colour: image, marker: noise")
    axis.legend(fontsize=6)
    _save(figure, output / "tsne")


def _save(figure: Figure, path: Path) -> None:
    for suffix in ("png", "svg"):
        with atomic_file(path.with_suffix(f".{suffix}")) as partial:
            figure.savefig(partial, format=suffix, dpi=150)


def _write(path: Path, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with atomic_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows)
