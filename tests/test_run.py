"""The command line on real series: what it writes, says and returns."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless, RLELossless, generate_uid

from ctdenoise import __version__
from ctdenoise.file_names import named
from tests.conftest import SAMPLE, Run
from tests.reference_network import published_weights
from tests.series.test_find import edit


def outputs(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.rglob("*.dcm"))]


def report_of(path: Path) -> dict:
    return json.loads(path.read_text())


def hu(dataset: pydicom.Dataset) -> np.ndarray:
    return dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)


def test_series_in_series_out(run: Run, series_dir: Path, tmp_path: Path) -> None:
    assert run(series_dir, "--report", tmp_path / "r.json") == 0
    derived = outputs(tmp_path / "out")
    sources = {d.SOPInstanceUID: d for d in outputs(series_dir)}
    assert len(derived) == 3
    for dataset in derived:
        source = sources[dataset.SourceImageSequence[0].ReferencedSOPInstanceUID]
        assert dataset.ImagePositionPatient == source.ImagePositionPatient
        assert dataset.InstanceNumber == source.InstanceNumber
        assert np.any(hu(dataset) != hu(source))
    (series,) = report_of(tmp_path / "r.json")["series"]
    assert series["new_series_uid"] == derived[0].SeriesInstanceUID
    assert {(i["source"], i["new"]) for i in series["instances"]} == {
        (d.SourceImageSequence[0].ReferencedSOPInstanceUID, d.SOPInstanceUID) for d in derived
    }
    assert series["status"] == "done"
    assert series["slices"] == 3
    assert series["noise_before"] == pytest.approx(38, abs=5)
    assert series["settings"]["unit_width_hu"] == pytest.approx(
        series["noise_before"] / 0.08, rel=0.1
    )
    assert set(series["hu_change"]) == {"air", "lung", "fat_and_soft_tissue", "bone"}
    assert series["seconds"]["network"] > 0
    assert report_of(tmp_path / "r.json")["model"]["sha256"]


def test_strength_zero_is_exact(run: Run, series_dir: Path, tmp_path: Path) -> None:
    assert run(series_dir, "--strength", 0) == 0
    for derived in outputs(tmp_path / "out"):
        (reference,) = derived.SourceImageSequence
        (source,) = [
            d for d in outputs(series_dir) if d.SOPInstanceUID == reference.ReferencedSOPInstanceUID
        ]
        np.testing.assert_array_equal(derived.pixel_array, source.pixel_array)


def test_same_run_same_uids_and_pixels_other_model_other_uids(
    run: Run, series_dir: Path, tmp_path: Path
) -> None:
    torch.save({"params": published_weights(8, (1, 1, 1), 1)}, tmp_path / "net_g_latest.pth")
    for name, more in (("a", []), ("b", []), ("c", ["--model", tmp_path / "net_g_latest.pth"])):
        assert run(series_dir, "--output", tmp_path / name, *more) == 0
    a, b, c = (outputs(tmp_path / name) for name in "abc")
    for first, second, other in zip(a, b, c, strict=True):
        assert first.SOPInstanceUID == second.SOPInstanceUID
        assert first.PixelData == second.PixelData
        assert first.SOPInstanceUID != other.SOPInstanceUID
        assert first.SeriesInstanceUID != other.SeriesInstanceUID


def test_batch_size_changes_nothing(run: Run, series_dir: Path, tmp_path: Path) -> None:
    for size in (1, 2, 5):
        assert run(series_dir, "--output", tmp_path / str(size), "--batch-size", size) == 0
    one, two, five = (outputs(tmp_path / str(size)) for size in (1, 2, 5))
    for a, b, c in zip(one, two, five, strict=True):
        # The sums of a convolution may be taken in another order: one step of rounding.
        assert np.abs(a.pixel_array.astype(int) - b.pixel_array).max() <= 1
        assert np.abs(a.pixel_array.astype(int) - c.pixel_array).max() <= 1


def test_second_run_finishes_what_an_interrupted_one_left(
    run: Run, series_dir: Path, tmp_path: Path
) -> None:
    assert run(series_dir) == 0
    first, second, third = sorted((tmp_path / "out").rglob("*.dcm"))
    before = first.stat().st_mtime_ns
    expected = second.read_bytes()
    second.unlink()
    (third.parent / ".part-00002.dcm").write_bytes(expected[:1000])
    assert run(series_dir, "--report", tmp_path / "r.json") == 0
    assert first.stat().st_mtime_ns == before
    assert pydicom.dcmread(second).PixelData == expected[-len(pydicom.dcmread(second).PixelData) :]
    assert not list((tmp_path / "out").rglob(".part*"))
    assert len({(d.SeriesDate, d.SeriesTime) for d in outputs(tmp_path / "out")}) == 1
    whole = first.read_bytes()
    first.write_bytes(whole[: len(whole) // 2])
    third.write_bytes(b"")
    assert run(series_dir) == 0
    assert first.read_bytes() == whole
    assert pydicom.dcmread(third).pixel_array.shape == (512, 512)
    (series,) = report_of(tmp_path / "r.json")["series"]
    assert series["slices_already_there"] == 2
    assert "2 slices were there from an earlier run" in series["notes"]


def test_another_runs_files_are_not_overwritten_unasked(
    run: Run, series_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(series_dir) == 0
    before = [d.SOPInstanceUID for d in outputs(tmp_path / "out")]
    assert run(series_dir, "--strength", 0.5) == 1
    assert "use --overwrite" in capsys.readouterr().err
    assert [d.SOPInstanceUID for d in outputs(tmp_path / "out")] == before
    assert run(series_dir, "--strength", 0.5, "--overwrite") == 0
    assert not {d.SOPInstanceUID for d in outputs(tmp_path / "out")} & set(before)


def test_sources_are_never_changed(run: Run, series_dir: Path) -> None:
    before = {path: path.read_bytes() for path in series_dir.iterdir()}
    run(series_dir)
    run(series_dir, "--output", series_dir / "out")
    assert {path: path.read_bytes() for path in before} == before


def test_output_inside_the_input_is_not_read_again(
    run: Run, series_dir: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        arguments = ("--output", series_dir / "out", "--report", tmp_path / "r.json")
        assert run(series_dir, *arguments) == 0
        assert len(report_of(tmp_path / "r.json")["series"]) == 1


def test_our_own_output_is_not_denoised_again(
    run: Run, series_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(series_dir) == 0
    assert run(tmp_path / "out", "--output", tmp_path / "again") == 2
    assert "already denoised by ctdenoise" in capsys.readouterr().err


@pytest.mark.parametrize("more", [(), ("--deidentify",)])
def test_our_own_volume_is_not_denoised_again(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    volume(folder / "ct.nii.gz")
    arguments = ("--output", folder, "--strength", 0.25, *more)
    assert run(folder, *arguments) == 0
    (written,) = folder.glob("series-*/*.nii.gz")
    assert run(folder, *arguments, "--report", tmp_path / "r.json") == 0
    report = report_of(tmp_path / "r.json")
    assert len(report["series"]) == 1
    assert [item["reason"] for item in report["left_out"]] == ["already denoised by ctdenoise"]
    assert run(written) == 2
    assert "already denoised by ctdenoise" in capsys.readouterr().err


def test_file_cut_short_in_its_header_is_said(
    run: Run, series_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = series_dir / "1-12.dcm"
    path.write_bytes(path.read_bytes()[:600])
    assert run(series_dir) == 1
    assert f"left out {named(path)}" in capsys.readouterr().err


def test_interrupted_overwrite_never_leaves_less(
    run: Run, series_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(series_dir) == 0
    from ctdenoise.derived.writers import DicomWriter

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(DicomWriter, "write", fail)
    assert run(series_dir, "--strength", 0.5, "--overwrite") == 1
    assert len(outputs(tmp_path / "out")) == 3


@pytest.mark.parametrize("kind", ["LOCALIZER", "ORIGINAL"])
def test_image_type_of_one_value(run: Run, series_dir: Path, tmp_path: Path, kind: str) -> None:
    edit(series_dir / "1-12.dcm", ImageType=kind)
    assert run(series_dir) == 0
    types = {tuple(d.ImageType) for d in outputs(tmp_path / "out")}
    assert len(outputs(tmp_path / "out")) == (2 if kind == "LOCALIZER" else 3)
    assert all(values[:2] == ("DERIVED", "SECONDARY") and len(values) <= 4 for values in types)


def test_two_series_and_other_files(run: Run, series_dir: Path, tmp_path: Path) -> None:
    edit(series_dir / "1-12.dcm", SeriesInstanceUID=generate_uid())
    (series_dir / "readme.txt").write_text("hello")
    assert run(series_dir, "--report", tmp_path / "r.json") == 0
    assert len(list((tmp_path / "out").iterdir())) == 2
    report = report_of(tmp_path / "r.json")
    assert report["left_out"] == [
        {"file": named(series_dir / "readme.txt"), "reason": "not a DICOM file"}
    ]


def test_undecodable_slice_is_said_and_the_rest_goes_on(
    run: Run, series_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = series_dir / "1-13.dcm"
    path.write_bytes(path.read_bytes()[:-1000])
    assert run(series_dir, "--report", tmp_path / "r.json") == 1
    assert len(outputs(tmp_path / "out")) == 2
    (series,) = report_of(tmp_path / "r.json")["series"]
    assert series["status"] == "partial"
    assert named(path) in series["reason"]
    assert [item["file"] for item in series["left_out"]] == [named(path)]
    error = capsys.readouterr().err
    assert named(path) in error
    assert "Traceback" not in error


def test_slices_of_another_size_are_denoised_as_well(
    run: Run, series_dir: Path, tmp_path: Path
) -> None:
    for name, size in (("1-12.dcm", 1), ("1-13.dcm", 37)):
        dataset = pydicom.dcmread(series_dir / name)
        pixels = dataset.pixel_array[200 : 200 + size, 200 : 200 + size + 6 * (size > 1)]
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(series_dir / name)
    assert run(series_dir, "--batch-size", 2, "--report", tmp_path / "r.json") == 0
    shapes = sorted(d.pixel_array.shape for d in outputs(tmp_path / "out"))
    assert shapes == [(1, 1), (37, 43), (512, 512)]
    (series,) = report_of(tmp_path / "r.json")["series"]
    assert "slices differ in matrix size" in series["notes"]


def test_same_series_uid_in_two_studies(run: Run, series_dir: Path, tmp_path: Path) -> None:
    edit(series_dir / "1-12.dcm", StudyInstanceUID=generate_uid(), SOPInstanceUID=generate_uid())
    assert run(series_dir) == 0
    assert sorted(len(list(f.iterdir())) for f in (tmp_path / "out").iterdir()) == [1, 2]


def test_other_files_in_the_output_are_never_removed(
    run: Run, series_dir: Path, tmp_path: Path
) -> None:
    assert run(series_dir) == 0
    (folder,) = (tmp_path / "out").iterdir()
    (folder / "notes.txt").write_text("mine")
    assert run(series_dir, "--strength", 0.5, "--overwrite") == 0
    assert (folder / "notes.txt").read_text() == "mine"


def test_header_that_nobody_foresaw_fails_that_series_only(
    run: Run, series_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(series_dir / "1-12.dcm", SeriesInstanceUID=generate_uid())
    dataset = pydicom.dcmread(series_dir / "1-12.dcm")
    del dataset.HighBit, dataset.BitsStored
    dataset.save_as(series_dir / "1-12.dcm")
    assert run(series_dir) == 1
    assert len(outputs(tmp_path / "out")) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_single_file_and_zip(run: Run, series_dir: Path, tmp_path: Path) -> None:
    assert run(series_dir / "1-12.dcm", "--output", tmp_path / "one") == 0
    assert len(outputs(tmp_path / "one")) == 1
    with zipfile.ZipFile(tmp_path / "series.zip", "w") as archive:
        for path in series_dir.iterdir():
            archive.write(path, f"study/{path.name}")
    assert run(tmp_path / "series.zip", "--output", tmp_path / "zip") == 0
    assert len(outputs(tmp_path / "zip")) == 3
    assert [path.name for path in (tmp_path / "zip").iterdir() if path.name.startswith(".")] == []


def test_compressed_input(run: Run, series_dir: Path, tmp_path: Path) -> None:
    for path in series_dir.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.compress(JPEGLSLossless, encoding_plugin="pyjpegls", generate_instance_uid=False)
        dataset.save_as(path)
    shutil.copytree(SAMPLE, tmp_path / "plain")
    assert run(series_dir, "--strength", 0) == 0
    plain = {d.SOPInstanceUID: d for d in outputs(tmp_path / "plain")}
    for derived in outputs(tmp_path / "out"):
        source = plain[derived.SourceImageSequence[0].ReferencedSOPInstanceUID]
        np.testing.assert_array_equal(derived.pixel_array, source.pixel_array)


@pytest.mark.parametrize("syntax", ["rle", "jpeg-ls", "jpeg-2000", "1.2.840.10008.1.2.4.80"])
def test_lossless_output(run: Run, series_dir: Path, tmp_path: Path, syntax: str) -> None:
    assert run(series_dir, "--transfer-syntax", "explicit") == 0
    assert run(series_dir, "--output", tmp_path / "small", "--transfer-syntax", syntax) == 0
    for plain, small in zip(outputs(tmp_path / "out"), outputs(tmp_path / "small"), strict=True):
        assert small.file_meta.TransferSyntaxUID.is_compressed
        assert small.SOPInstanceUID == plain.SOPInstanceUID
        np.testing.assert_array_equal(small.pixel_array, plain.pixel_array)
        assert len(small.PixelData) < len(plain.PixelData)


def test_another_transfer_syntax_is_written_where_files_are_there(
    run: Run, series_dir: Path, tmp_path: Path
) -> None:
    assert run(series_dir) == 0
    plain = outputs(tmp_path / "out")
    written = sorted((tmp_path / "out").rglob("*.dcm"))
    written[0].unlink()  # as if it had been interrupted
    for name, syntax in (("rle", RLELossless), ("explicit", ExplicitVRLittleEndian)):
        assert run(series_dir, "--transfer-syntax", name) == 0
        again = outputs(tmp_path / "out")
        assert [d.file_meta.TransferSyntaxUID for d in again] == [syntax] * 3
        assert [d.SOPInstanceUID for d in again] == [d.SOPInstanceUID for d in plain]
        for one, other in zip(plain, again, strict=True):
            np.testing.assert_array_equal(one.pixel_array, other.pixel_array)
        before = [path.stat().st_mtime_ns for path in written]
        assert run(series_dir, "--transfer-syntax", name, "--overwrite") == 0
        assert [path.stat().st_mtime_ns for path in written] == before


def test_padding_comes_back_and_is_not_invented(run: Run, series_dir: Path, tmp_path: Path) -> None:
    for path in series_dir.iterdir():
        dataset = pydicom.dcmread(path)
        pixels = dataset.pixel_array.copy()
        value = int(pixels[256, 256])
        pixels[:50] = value
        dataset.add_new("PixelPaddingValue", "US", value)
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(path)
    assert run(series_dir) == 0
    sources = {d.SOPInstanceUID: d for d in outputs(series_dir)}
    for derived in outputs(tmp_path / "out"):
        source = sources[derived.SourceImageSequence[0].ReferencedSOPInstanceUID]
        np.testing.assert_array_equal(
            derived.pixel_array == source.PixelPaddingValue,
            source.pixel_array == source.PixelPaddingValue,
        )


def test_outside_an_explicit_window_nothing_changes(
    run: Run, series_dir: Path, tmp_path: Path
) -> None:
    assert run(series_dir, "--window", "-160,240", "--report", tmp_path / "r.json") == 0
    sources = {d.SOPInstanceUID: d for d in outputs(series_dir)}
    changed = 0
    for derived in outputs(tmp_path / "out"):
        source = sources[derived.SourceImageSequence[0].ReferencedSOPInstanceUID]
        outside = (hu(source) <= -160) | (hu(source) >= 240)
        np.testing.assert_array_equal(hu(derived)[outside], hu(source)[outside])
        changed += np.count_nonzero(hu(derived)[~outside] != hu(source)[~outside])
    assert changed > 0
    settings = report_of(tmp_path / "r.json")["series"][0]["settings"]
    assert settings["window_hu"] == [-160.0, 240.0]
    assert settings["unit_width_hu"] == 400.0


def volume(path: Path, dtype: type = np.int16, slope: float = 1.0, inter: float = 0.0) -> None:
    stack = np.stack([d.pixel_array for d in outputs(SAMPLE)]).astype(np.float64) - 1024.0
    stored = ((stack[:3, 100:300, 100:228] - inter) / slope).astype(dtype)
    affine = np.diag([-0.6, -0.6, 8.0, 1.0])
    image = nibabel.Nifti1Image(stored.T, affine)
    image.header.set_slope_inter(slope, inter)
    nibabel.save(image, path)


@pytest.mark.parametrize(
    ("dtype", "slope", "inter"),
    [(np.int16, 1.0, 0.0), (np.uint16, 1.0, -1024.0), (np.int16, 0.5, 10.0), (np.float32, 1, 0)],
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_in_nifti_out(
    run: Run, tmp_path: Path, dtype: type, slope: float, inter: float, suffix: str
) -> None:
    path = tmp_path / f"ct{suffix}"
    volume(path, dtype, slope, inter)
    assert run(path, "--strength", 0, "--output", tmp_path / "same") == 0
    assert run(path) == 0
    source = nibabel.load(path)
    (same,) = (tmp_path / "same").rglob("*.nii*")
    (denoised,) = (tmp_path / "out").rglob("*.nii*")
    assert same.name == path.name
    np.testing.assert_array_equal(nibabel.load(same).get_fdata(), source.get_fdata())
    np.testing.assert_array_equal(nibabel.load(denoised).affine, source.affine)
    assert nibabel.load(denoised).get_data_dtype() == source.get_data_dtype()
    assert np.any(nibabel.load(denoised).get_fdata() != source.get_fdata())


def test_nan_in_nifti_is_padding(run: Run, tmp_path: Path) -> None:
    volume(tmp_path / "ct.nii.gz", np.float32)
    image = nibabel.load(tmp_path / "ct.nii.gz")
    values = image.get_fdata()
    values[10:20, 10:20] = np.nan
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), image.affine), tmp_path / "n.nii")
    assert run(tmp_path / "n.nii", "--report", tmp_path / "r.json") == 0
    (path,) = (tmp_path / "out").rglob("*.nii")
    out = nibabel.load(path).get_fdata()
    np.testing.assert_array_equal(np.isnan(out), np.isnan(values))
    assert report_of(tmp_path / "r.json")["series"][0]["noise_before"] > 20


def test_existing_nifti_is_not_overwritten_unasked(run: Run, tmp_path: Path) -> None:
    volume(tmp_path / "ct.nii.gz")
    assert run(tmp_path / "ct.nii.gz") == 0
    (path,) = (tmp_path / "out").rglob("*.nii.gz")
    before = path.stat().st_mtime_ns
    assert run(tmp_path / "ct.nii.gz") == 0
    assert path.stat().st_mtime_ns == before, "the same run redoes nothing"
    assert run(tmp_path / "ct.nii.gz", "--strength", 0.5) == 1
    assert path.stat().st_mtime_ns == before
    assert run(tmp_path / "ct.nii.gz", "--strength", 0.5, "--overwrite") == 0
    assert path.stat().st_mtime_ns != before


def test_volumes_of_one_name_are_kept_apart(run: Run, tmp_path: Path) -> None:
    for case, slope in (("a", 1.0), ("b", 0.5), ("c", 0.5)):
        (tmp_path / "in" / case).mkdir(parents=True)
        volume(tmp_path / "in" / case / "ct.nii.gz", np.int16, slope)
    shutil.copy(tmp_path / "in" / "b" / "ct.nii.gz", tmp_path / "in" / "c")
    for form in ("nifti", "dicom"):
        out = tmp_path / form
        report = tmp_path / f"{form}.json"
        arguments = ("--output", out, "--format", form, "--report", report, "--strength", 0)
        assert run(tmp_path / "in", *arguments) == 0
        assert len(list(out.iterdir())) == 2
        assert [item["reason"] for item in report_of(report)["left_out"]] == [
            f"same content as {named(tmp_path / 'in' / 'b' / 'ct.nii.gz')}"
        ]
    uids = [d.SOPInstanceUID for d in outputs(tmp_path / "dicom")]
    assert len(set(uids)) == len(uids) == 6


def test_nan_becomes_padding_in_dicom(run: Run, tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0, 20, (40, 32, 1)).astype(np.float32)
    values[:10] = np.nan
    nibabel.save(nibabel.Nifti1Image(values, np.diag([-1, -1, 5, 1])), tmp_path / "n.nii")
    assert run(tmp_path / "n.nii", "--format", "dicom") == 0
    (derived,) = outputs(tmp_path / "out")
    padding = derived.pixel_array == derived.PixelPaddingValue
    np.testing.assert_array_equal(padding, np.isnan(values[..., 0].T))


def test_volume_with_a_slice_missing_is_not_written(
    run: Run, series_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = series_dir / "1-13.dcm"
    path.write_bytes(path.read_bytes()[:-1000])
    assert run(series_dir, "--format", "nifti") == 1
    assert "which a NIfTI volume cannot say" in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*.nii*"))


def test_dicom_to_nifti_keeps_geometry(run: Run, series_dir: Path, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    assert run(series_dir, "--format", "nifti", "--strength", 0) == 0
    (path,) = (tmp_path / "out").rglob("*.nii.gz")
    ours = sitk.ReadImage(str(path))
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series_dir)))
    theirs = reader.Execute()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(ours), sitk.GetArrayFromImage(theirs))
    np.testing.assert_allclose(ours.GetOrigin(), theirs.GetOrigin(), atol=1e-3)
    np.testing.assert_allclose(ours.GetSpacing(), theirs.GetSpacing(), atol=1e-4)
    np.testing.assert_allclose(ours.GetDirection(), theirs.GetDirection(), atol=1e-6)


def test_nifti_to_dicom_keeps_geometry(run: Run, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    volume(tmp_path / "ct.nii.gz")
    assert run(tmp_path / "ct.nii.gz", "--format", "dicom", "--strength", 0) == 0
    (folder,) = (tmp_path / "out").iterdir()
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    ours, theirs = reader.Execute(), sitk.ReadImage(str(tmp_path / "ct.nii.gz"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(ours), sitk.GetArrayFromImage(theirs))
    np.testing.assert_allclose(ours.GetOrigin(), theirs.GetOrigin(), atol=1e-3)
    np.testing.assert_allclose(ours.GetSpacing(), theirs.GetSpacing(), atol=1e-4)
    np.testing.assert_allclose(ours.GetDirection(), theirs.GetDirection(), atol=1e-6)


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 2, 2), (4, 4, 0)])
def test_nifti_that_is_no_volume(
    run: Run, tmp_path: Path, shape: tuple[int, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.int16), np.eye(4)), tmp_path / "x.nii")
    assert run(tmp_path / "x.nii") == 2
    assert "not a" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strength", "2"], "from 0 to 1"),
        (["--strength", "nan"], "from 0 to 1"),
        (["--window", "5"], "LOWER,UPPER"),
        (["--window", "5,1"], "LOWER,UPPER"),
        (["--device", "cuda:99"], "--device cuda:99"),
        (["--transfer-syntax", "jpeg"], "use explicit, rle, jpeg-ls, jpeg-2000 or a UID"),
        (["--transfer-syntax", "1.2.840.10008.1.2.4.50"], "or a UID of these"),
        (["--device", "abacus"], "use auto, cpu, cuda or cuda:N"),
        (["--precision", "fp16", "--device", "cpu"], "needs a GPU"),
        (["--model", "nonesuch"], "no such model or file"),
        (["--decoder", "x.pth"], "go with --model clip-rn50"),
        (["--report", "/"], "is a folder; name a file"),
    ],
)
def test_wrong_arguments_end_with_2_and_one_line(
    run: Run,
    series_dir: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    assert run(series_dir, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_nothing_usable_ends_with_2(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("hello")
    assert run(tmp_path / "nowhere") == 2
    assert run(tmp_path / "empty") == 2
    assert run(tmp_path / "text") == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert "no CT series to denoise (not a DICOM file)" in error


def test_output_that_cannot_be_written(
    run: Run, series_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("a file, not a folder")
    assert run(series_dir) == 2
    assert "cannot be created" in capsys.readouterr().err


def test_progress_is_plain_lines_without_a_terminal(
    run: Run, series_dir: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run(series_dir)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "series 1 of 1: 3 slices"
    assert lines[1].startswith("series 1 of 1: done, noise ")
    run(series_dir, "--output", tmp_path / "quiet", "--quiet")
    assert capsys.readouterr().err == ""


def test_no_patient_data_in_report_and_lines(
    run: Run, series_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in series_dir.iterdir():
        edit(path, PatientName="Secret^Name", PatientID="SECRETID", PatientBirthDate="19500101")
    folder = series_dir.with_name("Secret^Name")
    series_dir.rename(folder)
    (folder / "1-12.dcm").rename(folder / "Secret.dcm")
    (folder / "1-13.dcm").write_bytes((folder / "1-13.dcm").read_bytes()[:-1000])
    (folder / "Secret.txt").write_text("Secret")
    run(folder, "--report", tmp_path / "r.json", "--verbose")
    said = (tmp_path / "r.json").read_text() + capsys.readouterr().err
    assert "not a DICOM file" in said
    assert "could not be read" in said
    assert "Secret" not in said
    assert "SECRETID" not in said
    assert "19500101" not in said


def test_files_are_named_for_those_who_ask(
    run: Run, series_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (series_dir / "notes.txt").write_text("hello")
    run(series_dir, "--verbose", "--show-paths")
    assert "left out notes.txt: not a DICOM file" in capsys.readouterr().err


def test_installed_command(tmp_path: Path) -> None:
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ctdenoise", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert call("--version").stdout.strip() == f"ctdenoise {__version__}"
    assert "--input" in call("run", "--help").stdout
    assert call("run").returncode == 2
    models = call("models").stdout
    assert "lite" in models
    assert "clip-rn50" in models


def test_help_needs_no_heavy_import() -> None:
    code = "import sys; from ctdenoise.cli import main; main(['--help'])"
    script = f"""
try:
    exec({code!r})
except SystemExit:
    pass
heavy = {{'torch', 'monai', 'pydicom', 'numpy', 'nibabel', 'open_clip'}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_threads_follow_the_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    from ctdenoise.commands.common import _available_threads

    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if hasattr(os, "sched_getaffinity"):
        assert _available_threads() == len(os.sched_getaffinity(0))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert _available_threads() == 1
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "9999")
    assert _available_threads() < 9999
