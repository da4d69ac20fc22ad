"""What is de-identified says nothing of the patient, and is still what it was of."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from nibabel.nifti1 import Nifti1Extension
from pydicom import Dataset
from pydicom.datadict import DicomDictionary, keyword_for_tag
from pydicom.sequence import Sequence

from tests.conftest import SAMPLE, Run
from tests.derived.test_conformance import errors
from tests.made import make
from tests.marked import CANARY, DATE, DIGITS, SAID, make_marked, marked_header
from tests.test_run import outputs


@pytest.mark.parametrize("kind", ["series", "frames"])
def test_deidentified_output_tells_nothing_of_the_patient(
    run: Run, tmp_path: Path, kind: str
) -> None:
    marked = make_marked(tmp_path)
    if kind == "frames":
        folder = tmp_path / f"{CANARY} frames"
        path = make(kind, folder, 3)
        dataset = pydicom.dcmread(path)
        marked_header(dataset, 0)
        dataset.save_as(path, enforce_file_format=True)
        marked = folder
    report = tmp_path / "r.json"
    arguments = ("--strength", 0, "--deidentify", "--report", report)
    assert run(marked, *arguments) == 0
    written = sorted((tmp_path / "out").rglob("*.dcm"))
    assert len(written) == (3 if kind == "series" else 1)
    sources = [pydicom.dcmread(path) for path in sorted(marked.glob("*.dcm"))]
    for path, source in zip(written, sources, strict=True):
        content = path.read_bytes()
        for mark in (CANARY, CANARY.upper(), DIGITS, DATE):
            assert mark.encode() not in content, str(
                [e for e in pydicom.dcmread(path).iterall() if mark in str(e.value)][:3]
            )
        derived = pydicom.dcmread(path)
        assert derived.PatientIdentityRemoved == "YES"
        assert str(derived.PatientName) == derived.PatientID != ""
        np.testing.assert_array_equal(derived.pixel_array, source.pixel_array)
        assert errors(path) <= errors(sorted(marked.glob("*.dcm"))[0])
    derived = outputs(tmp_path / "out")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID"):
        assert len({d.get(keyword) for d in derived}) == 1
    assert SAID.search(report.read_text()) is None
    before = {path: path.stat().st_mtime_ns for path in written}
    assert run(marked, *arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in written} == before
    written[0].unlink()
    assert run(marked, *arguments) == 0
    assert pydicom.dcmread(written[0]).StudyInstanceUID == derived[0].StudyInstanceUID


def test_deidentified_sample_conforms(run: Run, tmp_path: Path) -> None:
    assert run(SAMPLE, "--deidentify") == 0
    known = set().union(*(errors(path) for path in SAMPLE.glob("*.dcm")))
    for path in sorted((tmp_path / "out").rglob("*.dcm"))[:3]:
        assert errors(path) <= known
        derived = pydicom.dcmread(path)
        original = pydicom.dcmread(SAMPLE / "1-12.dcm")
        assert derived.ConvolutionKernel == original.ConvolutionKernel
        assert "ctdenoise" in derived.DerivationDescription


def test_deidentified_volume_says_nothing_in_words(run: Run, tmp_path: Path) -> None:
    made = nibabel.load(make("volume", tmp_path / "in", 3))
    made.header["db_name"] = made.header["aux_file"] = CANARY.encode()
    made.header["descrip"] = made.header["intent_name"] = CANARY.encode()
    made.header.extensions.append(Nifti1Extension("comment", CANARY.encode()))
    nibabel.save(made, tmp_path / f"{CANARY}.nii")
    assert run(tmp_path / f"{CANARY}.nii", "--deidentify", "--format", "nifti") == 0
    (written,) = (p for p in (tmp_path / "out").rglob("*") if p.is_file())
    nibabel.save(nibabel.load(written), tmp_path / "plain.nii")
    assert CANARY.encode() not in (tmp_path / "plain.nii").read_bytes()
    assert CANARY not in written.name


@pytest.mark.parametrize(
    ("burned", "more", "said"),
    [("YES", (), "said to hold text"), ("NO", ("--keep-private",), "leave out --keep-private")],
)
def test_what_cannot_be_deidentified_is_not_written(
    run: Run,
    tmp_path: Path,
    burned: str,
    more: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (path,) = make("series", tmp_path / "in", 1).iterdir()
    dataset = pydicom.dcmread(path)
    dataset.BurnedInAnnotation = burned
    dataset.save_as(path)
    assert run(path, "--deidentify", *more) in (1, 2)
    assert said in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*.dcm"))


_GROUPS = (0x0008, 0x0010, 0x0032, 0x0038, 0x0040)
_CANARIES = {
    **dict.fromkeys(("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"), CANARY),
    **dict.fromkeys(("OB", "OW", "UN"), CANARY.encode() + b" "),
    **{
        "CS": CANARY.upper(),
        "AS": "099Y",
        "DA": DATE,
        "DT": f"{DATE}101112",
        "UI": f"1.2.{DIGITS}",
    },
}
# They say what the image, its maker or a code is.
_KEPT = {
    *("SpecificCharacterSet", "ImageType", "SOPClassUID", "Modality", "Manufacturer"),
    *("ManufacturerModelName", "ConversionType", "PresentationIntentType", "SyntheticData"),
    *("CodeValue", "LongCodeValue", "URNCodeValue", "CodingSchemeDesignator", "CodeMeaning"),
    *("CodingSchemeVersion", "ContextIdentifier", "MappingResource", "ContextGroupExtensionFlag"),
    *("FrameType", "PixelPresentation", "VolumetricProperties", "ValueType"),
    *("VolumeBasedCalculationTechnique", "LossyImageCompressionRetired"),
    *("QualityControlSubject", "AnatomicalOrientationType"),
}


def _canaries() -> Dataset:
    """Each element of the groups that may tell of a patient, and some that nobody knows."""
    full = Dataset()
    for tag, (vr, *_) in DicomDictionary.items():
        kept = keyword_for_tag(tag) in _KEPT
        if tag >> 16 in _GROUPS and vr in _CANARIES and not kept:
            full.add_new(tag, vr, _CANARIES[vr])
    for tag in (0x00084445, 0x00104444, 0x00404444, 0x00229999, 0x60001500, 0x60020022):
        full.add_new(tag, "LO", CANARY)
    return full


@pytest.mark.parametrize("nested", [False, True])
def test_no_element_that_may_tell_of_a_patient_is_left(
    run: Run, tmp_path: Path, nested: bool
) -> None:
    (path,) = make("series", tmp_path / "in", 1).iterdir()
    dataset = pydicom.dcmread(path)
    full = _canaries()
    if nested:
        full.AnatomicRegionSequence = Sequence([_canaries()])
        dataset.AnatomicRegionSequence = Sequence([full])
    else:
        dataset.update(full)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    for mark in (CANARY, CANARY.upper(), DIGITS, DATE, "099Y"):
        assert mark.encode() in path.read_bytes()
    assert run(path, "--strength", 0, "--deidentify") == 0
    (written,) = (tmp_path / "out").rglob("*.dcm")
    derived = pydicom.dcmread(written)
    marks = (CANARY, CANARY.upper(), DIGITS, DATE, "099Y")
    left = [f"{e.tag} {e.name}" for e in derived.iterall() if any(m in str(e.value) for m in marks)]
    assert not left
    assert not any(mark.encode() in written.read_bytes() for mark in marks)
    assert "AnatomicRegionSequence" in derived or not nested
