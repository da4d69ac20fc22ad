"""What is a CT series and what is not, on real files and on damaged ones."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from ctdenoise.errors import CTDenoiseError
from ctdenoise.file_names import named
from ctdenoise.series import Series, find
from ctdenoise.series.archive import unpack
from ctdenoise.series.geometry import Plane, stack_notes
from tests.conftest import SAMPLE


def edit(path: Path, **values: object) -> None:
    dataset = pydicom.dcmread(path)
    for keyword, value in values.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    if "SOPInstanceUID" in values:
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path)


def reasons(folder: Path) -> dict[str, str]:
    return {item.path.name: item.reason for item in find(folder).left_out}


def only_series(folder: Path) -> Series:
    (series,) = find(folder).series
    return series


def test_series_is_sorted_along_the_normal(series_dir: Path) -> None:
    shutil.move(series_dir / "1-12.dcm", series_dir / "z.dcm")
    series = only_series(series_dir)
    positions = [instance.position for instance in series.instances]
    assert positions == sorted(positions)
    assert series.slices == 3
    assert series.notes == ()


def test_other_files_are_left_out_with_the_reason(series_dir: Path) -> None:
    (series_dir / "notes.txt").write_text("hello")
    (series_dir / "empty").touch()
    deep = series_dir / "a" / "b"
    deep.mkdir(parents=True)
    edit(series_dir / "1-12.dcm", SOPClassUID=SecondaryCaptureImageStorage)
    edit(series_dir / "1-13.dcm", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    shutil.move(series_dir / "1-14.dcm", deep)
    assert reasons(series_dir) == {
        "notes.txt": "not a DICOM file",
        "empty": "not a DICOM file",
        "1-12.dcm": "not a CT image (Secondary Capture Image Storage)",
        "1-13.dcm": "a localizer",
    }
    assert only_series(series_dir).slices == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"RescaleSlope": None}, "no Rescale Slope and Intercept: its HU are unknown"),
        ({"RescaleSlope": "0"}, "no Rescale Slope and Intercept: its HU are unknown"),
        ({"RescaleType": "Z_EFF"}, "its values are effective atomic number, not HU"),
        ({"SamplesPerPixel": 3}, "a colour image"),
        ({"Rows": None}, "no pixel data (no Rows and Columns)"),
        ({"SeriesInstanceUID": None}, "no SeriesInstanceUID"),
        ({"ImageType": ["DERIVED", "PRIMARY", "PERFUSION"]}, "a parametric map, not HU"),
    ],
)
def test_images_without_hu_are_left_out(series_dir: Path, change: dict, reason: str) -> None:
    edit(series_dir / "1-12.dcm", **change)
    assert reasons(series_dir) == {"1-12.dcm": reason}
    assert only_series(series_dir).slices == 2


def test_unmarked_localizer_in_the_same_series(series_dir: Path) -> None:
    edit(series_dir / "1-12.dcm", ImageOrientationPatient=[1, 0, 0, 0, 0, -1])
    assert reasons(series_dir) == {"1-12.dcm": "another orientation than its series (a localizer?)"}


def test_radial_reformats_are_no_stack(series_dir: Path) -> None:
    for i, path in enumerate(sorted(series_dir.iterdir())):
        angle = np.radians(30.0 * i)
        edit(path, ImageOrientationPatient=[np.cos(angle), np.sin(angle), 0, 0, 0, -1])
    assert find(series_dir).series == ()
    assert set(reasons(series_dir).values()) == {
        "not a stack: its series has no common orientation"
    }


def test_two_series_in_one_folder(series_dir: Path) -> None:
    edit(series_dir / "1-12.dcm", SeriesInstanceUID=generate_uid())
    assert sorted(series.slices for series in find(series_dir).series) == [1, 2]


def test_copy_of_a_file_is_left_out_and_another_phase_is_kept(series_dir: Path) -> None:
    shutil.copy(series_dir / "1-12.dcm", series_dir / "copy.dcm")
    shutil.copy(series_dir / "1-12.dcm", series_dir / "phase.dcm")
    edit(series_dir / "phase.dcm", SOPInstanceUID=generate_uid())
    first = named(series_dir / "1-12.dcm")
    assert reasons(series_dir) == {"copy.dcm": f"same SOP Instance UID as {first}"}
    series = only_series(series_dir)
    assert series.slices == 4
    assert series.notes == ("1 slices lie at the position of another",)


def test_file_without_preamble_is_read(series_dir: Path) -> None:
    path = series_dir / "1-12.dcm"
    path.write_bytes(path.read_bytes()[132:])
    assert only_series(series_dir).slices == 3


def test_slice_without_position_is_kept_and_said(series_dir: Path) -> None:
    edit(series_dir / "1-12.dcm", ImagePositionPatient=None)
    series = only_series(series_dir)
    assert series.slices == 3
    assert "some slices have no position" in series.notes[0]


def test_missing_path_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(CTDenoiseError, match="no such file or folder"):
        find(tmp_path / "nowhere")


def stack(*offsets: float, tilt: float = 0.0) -> list[Plane]:
    shear = np.tan(np.radians(tilt))
    axial = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    return [Plane((0.0, shear * z, z), axial) for z in offsets]


@pytest.mark.parametrize(
    ("planes", "notes"),
    [
        (stack(0, 5, 10, 15), []),
        (stack(0, 5, 15, 20), ["1 slices seem to be missing (spacing 5 mm)"]),
        (stack(0, 5, 5, 10), ["1 slices lie at the position of another"]),
        (stack(0, 5, 10, 17), ["slice spacing is uneven (5 to 7 mm)"]),
        (stack(0, 5, 10, tilt=18.0), ["slices are sheared by 18.0 degrees (gantry tilt)"]),
        (stack(0), []),
    ],
)
def test_what_is_odd_about_a_stack(planes: list[Plane], notes: list[str]) -> None:
    assert stack_notes(planes) == notes


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "a/../../evil.txt", "..\\evil.txt"])
def test_zip_paths_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr(name, "evil")
    (tmp_path / "out").mkdir()
    with pytest.raises(CTDenoiseError, match="leaves the folder"):
        unpack(tmp_path / "evil.zip", tmp_path / "out")
    assert not list(tmp_path.rglob("evil.txt"))


def test_zip_bombs_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(300 * 2**20))
    with pytest.raises(CTDenoiseError, match="would unpack to"):
        unpack(tmp_path / "bomb.zip", tmp_path)


def test_sample_has_an_open_licence_and_eight_slices() -> None:
    assert only_series(SAMPLE).slices == 8
    assert "CC BY" in (SAMPLE / "README.md").read_text()


def test_every_bad_input_is_left_out_with_a_reason(shared: Path) -> None:
    found = find(shared / "data" / "bad_input")
    assert found.series == ()
    files = [path for path in (shared / "data" / "bad_input").rglob("*") if path.is_file()]
    assert len(found.left_out) == len(files)
    assert all(item.reason for item in found.left_out)


def test_perfusion_maps_are_no_ct(shared: Path) -> None:
    found = find(shared / "data" / "ct_formats" / "enhanced_multiframe")
    maps = [item for item in found.left_out if item.path.name.startswith("CT0012")]
    assert len(maps) == 10
    assert {item.reason for item in maps} == {"a parametric map, not HU"}
    assert sorted(series.slices for series in found.series) == [3, 8, 8]


def test_headers_that_break_the_reader_are_left_out(series_dir: Path) -> None:
    path = series_dir / "1-12.dcm"
    path.write_bytes(path.read_bytes()[:400])
    assert list(reasons(series_dir)) == ["1-12.dcm"]
    assert only_series(series_dir).slices == 2
