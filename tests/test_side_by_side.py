"""Slices in several threads, against one after the other."""

from __future__ import annotations

import numpy as np
import pytest

from ctdenoise.denoiser import WHOLE_RANGE
from ctdenoise.level import Level
from ctdenoise.series.pixels import read_image
from ctdenoise.side_by_side import LevelSideBySide
from tests.conftest import SAMPLE


@pytest.mark.parametrize("stride", [1, 2])
def test_as_one_after_the_other(stride: int) -> None:
    images = [read_image(path) for path in sorted(SAMPLE.glob("*.dcm"))[:5]]
    hu = np.concatenate([image.hu for image in images])
    padding = np.concatenate([image.padding for image in images])
    level = Level(WHOLE_RANGE, 200.0, 40.0, 2.0, 1.5, stride, local=True)
    expected = level.to_network(hu, padding)
    denoised = expected.images * np.float32(0.9)
    with LevelSideBySide(level, 3) as beside:
        seen = beside.to_network(hu, padding)
        found = beside.from_network(hu, padding, seen, denoised, 0.7)
    np.testing.assert_array_equal(seen.images, expected.images)
    np.testing.assert_array_equal(seen.unit, expected.unit)
    np.testing.assert_array_equal(found, level.from_network(hu, padding, expected, denoised, 0.7))
