"""Photographs that scikit-image carries, and short trainings on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

from ctdenoise.cli import main

SMALL = [
    "width=8",
    "layers=[1,1,1]",
    "patch_size=32",
    "batch_size=2",
    "iterations=8",
    "epoch_length=4",
]


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for name in ("camera", "astronaut", "coffee"):
        Image.fromarray(getattr(data, name)()).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def train(photographs: Path) -> Callable[..., int]:
    """``ctdenoise train`` at the smallest size; later overrides win."""

    def run(*configs: str, output: Path, data: Path = photographs, settings: list[str] = []) -> int:  # noqa: B006
        recipes = [word for config in configs for word in ("--config", config)]
        where = ["--data", str(data), "--output", str(output), "--threads", "1"]
        return main(["train", *recipes, *where, *SMALL, *settings])

    return run
