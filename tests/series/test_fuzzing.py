"""What fuzzing starts from is whole: each file is read, with the HU of the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ctdenoise.series import find, read
from fuzzing.seeds import write_seeds
from tests.conftest import SAMPLE


def test_every_seed_is_read_with_the_same_hu(tmp_path: Path) -> None:
    write_seeds(SAMPLE / "1-12.dcm", tmp_path)
    seeds = sorted(tmp_path.iterdir())
    slices = []
    for path in seeds:
        (series,) = find(path).series
        slices += list(read(series, series.instances[0]).hu)
    assert len(seeds) == 14
    for hu in slices:
        np.testing.assert_array_equal(hu, slices[0])
