"""NIfTI volumes that are no CT, are damaged, or say little: one clear line."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.conftest import Run, assert_one_line

VOLUME = np.random.default_rng(0).normal(-200, 300, (16, 12, 4)).astype(np.int16)


def volume(values: np.ndarray, slope: float | None = None, intercept: float = 0.0) -> bytes:
    image = nibabel.Nifti1Image(values, np.eye(4))
    if slope is not None:
        image.header["scl_slope"], image.header["scl_inter"] = slope, intercept
    data = bytearray(image.to_bytes())
    if slope is not None:
        data[112:120] = struct.pack("<ff", slope, intercept)
    return bytes(data)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("4d.nii", volume(np.stack([VOLUME] * 2, axis=-1)), "not a volume of slices"),
        ("2d.nii", volume(VOLUME[..., 0]), "not a volume of slices"),
        (
            "rgb.nii",
            volume(np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])),
            "not a volume of numbers",
        ),
        ("complex.nii", volume(VOLUME.astype(np.complex64)), "not a volume of numbers"),
        ("unit.nii", volume((VOLUME % 2).astype(np.float32)), "its values are no HU (0 to 1)"),
        ("mr.nii", volume(np.abs(VOLUME)), "its values are no HU"),
        ("flat.nii", volume(np.full_like(VOLUME, 40)), "its values are no HU (40 to 40)"),
        ("nan.nii", volume(np.full(VOLUME.shape, np.nan, "f4")), "its values are no HU"),
        ("huge.nii", volume(VOLUME, slope=1e6), "its values are no HU"),
        ("inter.nii", volume(VOLUME, slope=1.0, intercept=np.inf), "not a readable NIfTI file"),
        ("short.nii", volume(VOLUME)[:-100], "declares more voxels than the file can hold"),
        ("head.nii", volume(VOLUME)[:200], "not a readable NIfTI file"),
        ("text.nii", b"hello", "not a readable NIfTI file"),
        ("text.nii.gz", b"hello", "not a readable NIfTI file"),
        (
            "half.nii.gz",
            gzip.compress(volume(VOLUME))[:-300],
            "cut short or damaged",
        ),
        (
            "dtype.nii",
            volume(VOLUME)[:70] + struct.pack("<h", 12345) + volume(VOLUME)[72:],
            "not a readable NIfTI file",
        ),
        (
            "dims.nii",
            volume(VOLUME)[:42] + struct.pack("<3h", *[32767] * 3) + volume(VOLUME)[48:],
            "declares more voxels than the file can hold",
        ),
        (
            "negative.nii",
            volume(VOLUME)[:46] + struct.pack("<h", -4) + volume(VOLUME)[48:],
            "not a volume of slices (shape 16x12x-4)",
        ),
        (
            "dims.nii.gz",
            gzip.compress(
                volume(VOLUME)[:42] + struct.pack("<3h", *[32767] * 3) + volume(VOLUME)[48:]
            ),
            "declares more voxels than the file can hold",
        ),
    ],
)
def test_volumes_that_are_no_ct(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, data: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(data)
    assert run(tmp_path / name) == 2
    assert_one_line(capsys, said)


@pytest.mark.parametrize("slope", [0.0, np.nan, np.inf])
def test_a_volume_without_a_slope_has_its_values_as_they_are(
    run: Run, tmp_path: Path, slope: float
) -> None:
    (tmp_path / "v.nii").write_bytes(volume(VOLUME, slope=slope))
    assert run(tmp_path / "v.nii", "--strength", 0) == 0
    (path,) = (tmp_path / "out").rglob("*.nii")
    np.testing.assert_array_equal(np.asarray(nibabel.load(path).dataobj), VOLUME)


def test_a_volume_without_air_is_said(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = np.clip(VOLUME, -100, 200)
    (tmp_path / "v.nii").write_bytes(volume(values))
    assert run(tmp_path / "v.nii") == 0
    assert "note: it has no air (-100 HU at least): is it in HU?" in capsys.readouterr().err
