"""Lower doses as DICOM, through the command line."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from ctdenoise.cli import main
from ctdenoise.hounsfield import tissue_masks
from ctdenoise.series.pixels import read_image
from tests.conftest import SAMPLE, assert_one_line

FAST = ["--views", "180", "--threads", "1"]


def simulate(series: Path, output: Path, dose: str, *options: str) -> list[Path]:
    arguments = ["simulate", "--input", str(series), "--output", str(output), "--dose", dose]
    assert main([*arguments, *FAST, *options]) == 0
    return sorted(output.rglob("*.dcm"))


def test_simulated_series_is_derived_and_noisier(two_slices: Path, tmp_path: Path) -> None:
    before = {pydicom.dcmread(p).SOPInstanceUID: p for p in two_slices.glob("*.dcm")}
    made = simulate(two_slices, tmp_path / "out", "0.6")
    assert len(made) == 2
    for path in made:
        dataset = pydicom.dcmread(path)
        (source,) = dataset.SourceImageSequence
        assert dataset.DerivationCodeSequence[0].CodeValue == "113042"
        assert "simulate 0.6 of the dose" in dataset.DerivationDescription
        assert dataset.SeriesDescription.endswith("ctdenoise dose 0.6")
        was, now = (read_image(p) for p in (before[source.ReferencedSOPInstanceUID], path))
        mask = tissue_masks(was.hu[0], was.padding[0])["fat_and_soft_tissue"]
        added = (now.hu - was.hu)[0][mask]
        assert abs(added.mean()) < 0.5
        # It adds 0.8 times the noise of about 40 HU that this slice has.
        assert 20.0 < added.std() < 70.0
        np.testing.assert_array_equal(now.hu[was.padding], was.hu[was.padding])


def test_seed_decides_the_noise(two_slices: Path, tmp_path: Path) -> None:
    runs = [
        simulate(two_slices, tmp_path / name, "0.5", "--seed", seed)
        for name, seed in (("a", "1"), ("b", "1"), ("c", "2"))
    ]
    pixels = [[pydicom.dcmread(path).PixelData for path in run] for run in runs]
    uids = [[str(pydicom.dcmread(path).SOPInstanceUID) for path in run] for run in runs]
    assert pixels[0] == pixels[1]
    assert pixels[0] != pixels[2]
    assert uids[0] == uids[1]
    assert not set(uids[0]) & set(uids[2])
    # No two slices share their noise.
    assert len(set(uids[0])) == len(set(pixels[0])) == 2


def test_full_dose_changes_nothing(two_slices: Path, tmp_path: Path) -> None:
    made = simulate(two_slices, tmp_path / "out", "1")
    values = sorted(pydicom.dcmread(p).PixelData for p in made)
    assert values == sorted(pydicom.dcmread(p).PixelData for p in two_slices.glob("*.dcm"))


def test_a_second_run_redoes_nothing(two_slices: Path, tmp_path: Path) -> None:
    made = simulate(two_slices, tmp_path / "out", "0.5")
    made[0].unlink()
    kept = made[1].stat().st_mtime_ns
    again = simulate(two_slices, tmp_path / "out", "0.5")
    assert again == made
    assert again[1].stat().st_mtime_ns == kept


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--dose", "0"], "above 0, at most 1"),
        (["--dose", "0.5", "--kernel", "bone"], "unknown kernel bone: use one of ramp"),
        (["--dose", "0.5", "--kev", "10"], "energy must be 40 to 150"),
        (["--dose", "0.5", "--input", "no_such"], "no such file or folder"),
    ],
)
def test_bad_settings_are_one_line(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--input", str(SAMPLE), "--output", str(tmp_path / "out")]
    assert main(["simulate", *where, *options]) == 2
    assert_one_line(capsys, said)
    assert not (tmp_path / "out").exists()


def test_a_simulated_series_can_be_denoised(two_slices: Path, tmp_path: Path) -> None:
    simulate(two_slices, tmp_path / "low", "0.5")
    arguments = ["run", "--input", str(tmp_path / "low"), "--output", str(tmp_path / "out")]
    assert main(arguments) == 0
    (path, _) = sorted((tmp_path / "out").rglob("*.dcm"))
    assert pydicom.dcmread(path).SeriesDescription.endswith("ctdenoise dose 0.5 ctdenoise 1")


@pytest.mark.parametrize("command", ["simulate", "evaluate", "features", "run"])
def test_a_file_in_the_place_of_the_output_is_one_line(
    command: str, two_slices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("mine")
    wanted = {
        "simulate": ["--dose", "0.5"],
        "evaluate": ["--noise", "gaussian:9", "--methods", "identity"],
    }
    source = "--images" if command == "features" else "--input"
    where = [source, str(two_slices), "--output", str(tmp_path / "taken")]
    assert main([command, *where, *wanted.get(command, [])]) == 2
    assert_one_line(capsys, "the output folder cannot be created")
    assert (tmp_path / "taken").read_text() == "mine"


def test_nifti_in_nifti_out(two_slices: Path, tmp_path: Path) -> None:
    volume = np.stack([read_image(p).hu[0, ::4, ::4] for p in sorted(two_slices.glob("*.dcm"))])
    affine = np.diag([2.8, 2.8, 8.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(volume.T.astype(np.int16), affine), tmp_path / "v.nii.gz")
    assert simulate(tmp_path / "v.nii.gz", tmp_path / "out", "0.5") == []
    (path,) = (tmp_path / "out").rglob("*.nii.gz")
    made = nibabel.load(path)
    np.testing.assert_allclose(made.affine, affine, rtol=1e-6)
    added = made.get_fdata().T - volume
    assert added.std() > 5.0
    # Each slice has noise of its own.
    assert abs(np.corrcoef(added[0].ravel(), added[1].ravel())[0, 1]) < 0.1
