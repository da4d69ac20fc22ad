"""What other programs make of the output: a PACS, dcmtk and dcm2niix."""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image

from tests.conftest import SAMPLE, Run
from tests.derived.test_conformance import errors
from tests.made import make
from tests.orthanc import Orthanc, program, running_orthanc

Record = Callable[[str, object], None]

# How dcmtk's storescu is told which compressed images it is to propose.
SYNTAXES = {"explicit": "-xe", "rle": "-xr", "jpeg-ls": "-xt", "jpeg-2000": "-xv"}


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with running_orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


def windowed(dataset: pydicom.Dataset, pixels: np.ndarray) -> np.ndarray:
    """As a viewer shows it, in [0, 255]. Source: DICOM PS3.3 section C.11.2.1.2."""

    def first(value: object) -> float:
        return float(value[0] if isinstance(value, pydicom.multival.MultiValue) else value)  # type: ignore[index, arg-type]

    hu = pixels * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    centre, width = first(dataset.WindowCenter), first(dataset.WindowWidth)
    return np.clip(((hu - (centre - 0.5)) / (width - 1) + 0.5) * 255, 0, 255)


@pytest.mark.parametrize("kind", ["series", "frames"])
@pytest.mark.parametrize("syntax", list(SYNTAXES))
def test_a_pacs_gives_back_what_it_was_given(
    run: Run, tmp_path: Path, orthanc: Orthanc, kind: str, syntax: str, record_property: Record
) -> None:
    """Stored, found and retrieved by DICOM, and shown."""
    source = make(kind, tmp_path / "in", 3, side=128)
    assert run(source, "--transfer-syntax", syntax) == 0
    files = sorted((tmp_path / "out").rglob("*.dcm"))
    ours = [pydicom.dcmread(path) for path in files]
    series = ours[0].SeriesInstanceUID
    orthanc.dcmtk("storescu", SYNTAXES[syntax], *files)
    of_series = ("-k", f"StudyInstanceUID={ours[0].StudyInstanceUID}")
    of_series += ("-k", f"SeriesInstanceUID={series}")
    images = ("-k", "QueryRetrieveLevel=IMAGE", "-k", "SOPInstanceUID")
    found = orthanc.dcmtk("findscu", "-S", *of_series, *images)
    assert all(dataset.SOPInstanceUID in found for dataset in ours)
    theirs = {}
    # Not in JPEG 2000: this needs a plugin of Orthanc's.
    if syntax != "jpeg-2000":
        (tmp_path / "back").mkdir()
        wanted = (*of_series, "-k", "QueryRetrieveLevel=SERIES", "-od", tmp_path / "back")
        orthanc.dcmtk("getscu", "-S", *wanted)
        theirs = {d.SOPInstanceUID: d for d in map(pydicom.dcmread, (tmp_path / "back").iterdir())}
        assert len(theirs) == len(ours)
    for dataset in ours:
        (name,) = orthanc.find("Instance", SOPInstanceUID=dataset.SOPInstanceUID)
        kept = pydicom.dcmread(io.BytesIO(orthanc.get(f"instances/{name}/file")))
        assert kept.file_meta.TransferSyntaxUID == dataset.file_meta.TransferSyntaxUID
        assert kept.PixelData == dataset.PixelData
        if syntax == "jpeg-2000":
            continue
        decoded = theirs[dataset.SOPInstanceUID].pixel_array
        np.testing.assert_array_equal(decoded, dataset.pixel_array)
        if kind == "series":
            shown = Image.open(io.BytesIO(orthanc.get(f"instances/{name}/rendered"))).convert("L")
            expected = windowed(dataset, dataset.pixel_array)
            assert np.abs(np.asarray(shown, dtype=float) - expected).max() < 2
    record_property("reliability: stored in Orthanc, found, retrieved, equal", len(ours))


@pytest.mark.parametrize("kind", ["series", "frames"])
@pytest.mark.parametrize("syntax", list(SYNTAXES))
def test_validator_and_dcmdump_find_nothing_new(
    run: Run, tmp_path: Path, kind: str, syntax: str, record_property: Record
) -> None:
    dcmdump = program("dcmdump")
    source = make(kind, tmp_path / "in", 2, side=64)
    assert run(source, "--transfer-syntax", syntax) == 0
    sources = [source] if source.is_file() else sorted(source.iterdir())
    known = set().union(*map(errors, sources))
    for path in sorted((tmp_path / "out").rglob("*.dcm")):
        assert errors(path) <= known
        done = subprocess.run([dcmdump, "+L", path], capture_output=True, text=True)
        assert done.returncode == 0
        assert done.stderr == ""
        assert "(5200,9230)" in done.stdout or kind == "series"
        record_property("reliability: dciodvfy and dcmdump, findings that the source had not", 0)


@pytest.mark.parametrize("syntax", ["explicit", "rle", "jpeg-2000"])
def test_dcm2niix_makes_the_same_volume_of_source_and_output(
    run: Run, tmp_path: Path, syntax: str, record_property: Record
) -> None:
    dcm2niix = program("dcm2niix")
    assert run(SAMPLE, "--strength", 0, "--transfer-syntax", syntax) == 0
    shutil.copytree(SAMPLE, tmp_path / "source", ignore=shutil.ignore_patterns("*.md"))
    volumes = []
    for name in ("source", "out"):
        (tmp_path / f"{name}_nii").mkdir()
        command = [dcm2niix, "-b", "n", "-f", "v", "-o", tmp_path / f"{name}_nii", tmp_path / name]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
        (made,) = (tmp_path / f"{name}_nii").glob("*.nii")
        volumes.append(nibabel.load(made))
    np.testing.assert_array_equal(volumes[0].affine, volumes[1].affine)
    np.testing.assert_array_equal(volumes[0].get_fdata(), volumes[1].get_fdata())
    record_property("reliability: volumes of dcm2niix, equal for source and output", 1)
