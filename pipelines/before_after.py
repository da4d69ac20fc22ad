"""A picture of slices before and after denoising, and of what was taken out.

    python -m pipelines.before_after PICTURE.png SLICE:LOWER,UPPER ... [--model NAME|FILE]

Each SLICE is a DICOM file, shown in the window that follows it; it is denoised by itself. The
difference is shown from -100 to 100 HU.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ctdenoise.denoiser import Denoiser, match_level
from ctdenoise.hounsfield import HU, HUWindow
from ctdenoise.measured_noise import measure_noise, noise_level
from ctdenoise.models.registry import load
from ctdenoise.series.pixels import read_image

SIDE = 400
DIFFERENCE = HUWindow(-100.0, 100.0)


def panel(hu: HU, window: HUWindow, text: str) -> Image.Image:
    """A slice (H, W) in a window, its middle enlarged, with a line of text."""
    gray = np.clip(window.to_unit(_middle(hu)), 0.0, 1.0) * 255.0
    image = Image.fromarray(gray.astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(14)
    draw.text((8, 6), text, fill=255, font=font, stroke_width=2, stroke_fill=0)
    return image


def row(path: Path, window: HUWindow, denoiser: Denoiser) -> list[Image.Image]:
    """Before, after and difference of a file."""
    source = read_image(path)
    noise = measure_noise([(source.hu[0], source.padding[0])])
    after = denoiser(source.hu, source.padding, match_level(denoiser.card, noise))[0]
    before = source.hu[0]
    left = noise_level(after, source.padding[0])
    shown = f"{window.lower:g} to {window.upper:g} HU"
    return [
        panel(before, window, f"before: {shown}, noise {noise.sigma if noise else 0:.0f} HU"),
        panel(after, window, f"after: noise {left or 0:.0f} HU"),
        panel(after - before, DIFFERENCE, "difference: -100 to 100 HU"),
    ]


def _middle(hu: HU) -> NDArray[np.float64]:
    height, width = hu.shape
    side = int(0.55 * min(height, width))
    top, left = (height - side) // 2, (width - side) // 2
    return hu[top : top + side, left : left + side]


def main() -> None:
    parser = argparse.ArgumentParser(description="Slices before and after denoising.")
    parser.add_argument("picture", type=Path)
    parser.add_argument("slices", nargs="+", metavar="SLICE:LOWER,UPPER")
    parser.add_argument("--model", default="lite")
    options = parser.parse_args()
    denoiser = Denoiser(load(options.model))
    rows = []
    for text in options.slices:
        path, _, bounds = text.rpartition(":")
        lower, upper = (float(bound) for bound in bounds.split(","))
        rows.append(row(Path(path), HUWindow(lower, upper), denoiser))
    picture = Image.new("L", (SIDE * 3, SIDE * len(rows)))
    for y, panels in enumerate(rows):
        for x, image in enumerate(panels):
            picture.paste(image, (x * SIDE, y * SIDE))
    options.picture.parent.mkdir(parents=True, exist_ok=True)
    picture.save(options.picture, optimize=True)


if __name__ == "__main__":
    main()
