"""Nothing that tells who a patient is, in lines, reports, and in what is de-identified."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from nibabel.nifti1 import Nifti1Extension
from pydicom import Dataset
from pydicom.sequence import Sequence

from ctdenoise.cli import main
from tests.conftest import SAMPLE, Run
from tests.derived.test_conformance import errors
from tests.made import make
from tests.test_run import outputs, report_of

CANARY = "Xanthippe"
DIGITS = "8675309"
DATE = "19470213"
SAID = re.compile(f"{CANARY}|{DIGITS}|{DATE}", re.IGNORECASE)

_VALUES = {
    "PN": f"{CANARY}^Q",
    "DA": DATE,
    "DT": f"{DATE}101112",
    "UI": f"1.2.3.{DIGITS}",
    **dict.fromkeys(("LO", "SH", "LT", "ST", "UT", "UC", "AE"), CANARY),
}
# What the profile keeps says what the image is, or is of the program's own making.
_OF_THE_IMAGE = (
    "SOPClassUID",
    "Manufacturer",
    "ManufacturerModelName",
    "SoftwareVersions",
    "ConvolutionKernel",
    "FilterType",
    "WindowCenterWidthExplanation",
    "CodeValue",
    "CodingSchemeDesignator",
    "CodeMeaning",
    "PositionReferenceIndicator",
)
_MORE = (
    "AccessionNumber",
    "AcquisitionDate",
    "AcquisitionDateTime",
    "AdditionalPatientHistory",
    "AdmittingDiagnosesDescription",
    "Allergies",
    "ContentDate",
    "ContributionDescription",
    "DeidentificationMethod",
    "DerivationDescription",
    "DeviceSerialNumber",
    "DeviceUID",
    "EthnicGroup",
    "FrameOfReferenceUID",
    "ImageComments",
    "InstitutionAddress",
    "InstitutionName",
    "MedicalAlerts",
    "Occupation",
    "OperatorsName",
    "OtherPatientNames",
    "PatientAddress",
    "PatientBirthDate",
    "PatientBirthName",
    "PatientComments",
    "PatientTelephoneNumbers",
    "PhysiciansOfRecord",
    "ProtocolName",
    "ReferringPhysicianName",
    "RequestedProcedureDescription",
    "RequestingPhysician",
    "SeriesDate",
    "SeriesDescription",
    "StationName",
    "StudyDate",
    "StudyDescription",
    "StudyID",
    "StudyInstanceUID",
)


def fill(dataset: Dataset, number: int) -> None:
    """Put the canary into each element that can hold it, of items as well."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                fill(item, number)
        elif element.VR in _VALUES and element.keyword not in _OF_THE_IMAGE:
            element.value = _VALUES[element.VR]
    if "StudyInstanceUID" in dataset:
        dataset.StudyInstanceUID = f"1.2.4.{DIGITS}"
    if "SOPInstanceUID" in dataset:
        dataset.SOPInstanceUID = f"1.2.3.{DIGITS}.{number}"


def marked_header(dataset: Dataset, number: int) -> None:
    """A header in which everything that may tell who the patient is has the canary."""
    for keyword in _MORE:
        vr = pydicom.datadict.dictionary_VR(pydicom.datadict.tag_for_keyword(keyword))
        setattr(dataset, keyword, _VALUES.get(vr, CANARY))
    nested, deeper = Dataset(), Dataset()
    nested.PatientName = deeper.ReferringPhysicianName = CANARY
    nested.ScheduledProcedureStepDescription = CANARY
    deeper.ReferencedSOPInstanceUID = f"1.2.3.{DIGITS}"
    deeper.ReferencedSOPClassUID = dataset.SOPClassUID
    nested.ReferencedSOPSequence = Sequence([deeper])
    dataset.RequestAttributesSequence = Sequence([nested])
    dataset.ReferencedStudySequence = Sequence([deeper])
    if "NumberOfFrames" in dataset:
        context = Dataset()
        context.ValueType, context.TextValue = "TEXT", CANARY
        dataset.AcquisitionContextSequence = Sequence([context])
    dataset.add_new(0x60003000, "OW", CANARY.encode() + b"e")
    dataset.add_new(0x60004000, "LT", CANARY)
    dataset.private_block(0x0009, CANARY, create=True).add_new(1, "LO", CANARY)
    fill(dataset, number)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.SourceApplicationEntityTitle = CANARY
    dataset.preamble = CANARY.encode().ljust(128, b"\0")


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    """Three slices, and files that are none, with the canary in headers, names and folders."""
    folder = tmp_path / f"{CANARY}^Q" / f"{DATE} {DIGITS}"
    made = make("series", folder, 3, side=64)
    for number, path in enumerate(sorted(made.iterdir())):
        dataset = pydicom.dcmread(path)
        marked_header(dataset, number)
        dataset.save_as(path.with_name(f"{CANARY}{number}.dcm"), enforce_file_format=True)
        path.unlink()
    return folder


def broken(folder: Path) -> None:
    """Add files that go wrong in many ways."""
    first = sorted(folder.glob("*.dcm"))[0]
    whole = first.read_bytes()
    (folder / f"{CANARY}.txt").write_text(CANARY)
    (folder / f"cut {CANARY}.dcm").write_bytes(whole[:600])
    (folder / f"half {CANARY}.dcm").write_bytes(whole[:-2000])
    (folder / f"{CANARY}.nii.gz").write_bytes(CANARY.encode())
    wrong = {
        "Rows": CANARY.encode(),
        "BitsStored": CANARY.encode(),
        "InstanceNumber": CANARY,
        "PixelSpacing": CANARY,
        "RescaleSlope": CANARY,
        "ImagePositionPatient": CANARY,
        "SOPClassUID": CANARY,
        "ImageType": CANARY,
    }
    for number, (keyword, value) in enumerate(wrong.items()):
        dataset = pydicom.dcmread(first)
        dataset.SOPInstanceUID = f"1.2.3.{DIGITS}.7{number}"
        dataset.SeriesInstanceUID = f"1.2.3.{DIGITS}.8{number}"
        with pydicom.config.disable_value_validation():
            tag = pydicom.datadict.tag_for_keyword(keyword)
            vr = "CS" if keyword == "ImageType" else "LO"
            dataset[tag] = pydicom.DataElement(tag, vr, str(value))
            dataset.save_as(folder / f"{keyword} {CANARY}.dcm", enforce_file_format=True)


def texts(folder: Path) -> Iterator[str]:
    """Names and contents of what a command wrote."""
    for path in folder.rglob("*"):
        yield str(path.relative_to(folder))
        if path.suffix in (".json", ".csv", ".md", ".html", ".svg"):
            yield path.read_text(encoding="utf-8")


@pytest.mark.parametrize("good", [True, False])
@pytest.mark.parametrize("command", ["run", "simulate", "evaluate", "features"])
def test_no_line_and_no_report_names_a_patient(
    command: str,
    good: bool,
    marked: Path,
    tmp_path: Path,
    small_model: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if not good:
        broken(marked)
    # The UIDs of a report are those of the source: here they hold no canary.
    for path in marked.glob("*.dcm"):
        path.write_bytes(path.read_bytes().replace(DIGITS.encode(), b"1234567"))
    output = tmp_path / f"{CANARY} out"
    source = "--images" if command == "features" else "--input"
    more = {
        "run": ["--model", small_model, "--report", output / "r.json", "--verbose"],
        "simulate": ["--dose", "0.5", "--views", "60"],
        "evaluate": ["--noise", "gaussian:9", "--methods", "identity", "--phantom", "0"],
        "features": ["--model", "random", "--noise", "gaussian:9"],
    }[command]
    code = main([command, source, str(marked), "--output", str(output), *map(str, more)])
    said = capsys.readouterr()
    assert code == 0 if good else code in (0, 1, 2)
    for text in (said.out, said.err, *texts(output)):
        found = SAID.search(text)
        assert found is None, text[max(0, found.start() - 200) : found.end() + 200]
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--input", "{}/none"],
        ["run", "--input", "{0}", "--output", "{0}/a.dcm/out"],
        ["run", "--input", "{}", "--report", "{}"],
        ["run", "--input", "{}", "--report", "{}/a.dcm/r.json"],
        ["simulate", "--dose", "0.5", "--input", "{}/none"],
        ["simulate", "--dose", "0.5", "--input", "{}/empty"],
        ["simulate", "--dose", "0.5", "--input", "{}", "--output", "{}/a.dcm/out"],
        ["evaluate", "--noise", "gaussian:9", "--methods", "identity", "--input", "{}/none"],
        ["evaluate", "--noise", "gaussian:9", "--methods", "identity", "--input", "{}/empty"],
        ["evaluate", "--methods", "identity", "--input", "{0}", "--reference", "{0}/empty"],
        ["features", "--model", "random", "--images", "{}/none"],
    ],
)
def test_wrong_arguments_repeat_no_path(
    arguments: list[str],
    two_slices: Path,
    tmp_path: Path,
    small_model: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = two_slices.rename(tmp_path / CANARY)
    (folder / "empty").mkdir()
    sorted(folder.glob("*.dcm"))[0].rename(folder / "a.dcm")
    given = [argument.format(folder) for argument in arguments]
    if "--output" not in given:
        given += ["--output", str(tmp_path / "out")]
    if given[0] == "run":
        given += ["--model", str(small_model), "--quiet"]
    assert main(given) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert CANARY not in said


def test_uids_of_a_report_are_hashed_where_asked_for(
    run: Run, series_dir: Path, tmp_path: Path
) -> None:
    assert run(series_dir, "--report", tmp_path / "r.json") == 0
    assert run(series_dir, "--report", tmp_path / "h.json", "--hash-uids") == 0
    (plain,), (hashed,) = (report_of(tmp_path / name)["series"] for name in ("r.json", "h.json"))
    text = (tmp_path / "h.json").read_text()
    uids = [plain["source_series_uid"], plain["new_series_uid"]]
    uids += [uid for pair in plain["instances"] for uid in pair.values()]
    assert not any(uid in text for uid in uids)
    assert [len(pair) for pair in hashed["instances"]] == [2] * 3
    assert len({pair["source"] for pair in hashed["instances"]}) == 3
    assert run(series_dir, "--report", tmp_path / "g.json", "--hash-uids") == 0
    (again,) = report_of(tmp_path / "g.json")["series"]
    assert again["instances"] == hashed["instances"]


@pytest.mark.parametrize("kind", ["series", "frames"])
def test_deidentified_output_tells_nothing_of_the_patient(
    run: Run, tmp_path: Path, marked: Path, kind: str
) -> None:
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


def test_report_is_json_with_all_options(run: Run, series_dir: Path, tmp_path: Path) -> None:
    assert run(series_dir, "--deidentify", "--hash-uids", "--report", tmp_path / "r.json") == 0
    assert json.loads((tmp_path / "r.json").read_text())["series"][0]["status"] == "done"
