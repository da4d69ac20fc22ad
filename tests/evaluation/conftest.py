"""Small photographs and a function that tests name as a method."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import uniform_filter
from skimage import data


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    camera = data.camera()
    for i in range(4):
        part = camera[64 + 80 * i : 144 + 80 * i, 150:246]
        Image.fromarray(part).save(folder / f"{i}.png")
    return folder


def half(image: np.ndarray) -> np.ndarray:
    return image * 0.5


def wrong_shape(image: np.ndarray) -> np.ndarray:
    return image[1:]


def nothing(image: np.ndarray) -> np.ndarray:
    return image * np.nan


def in_place(image: np.ndarray) -> np.ndarray:
    image *= 0.5
    return image


def mean_of_neighbours(image: np.ndarray) -> np.ndarray:
    return uniform_filter(image, 3)
