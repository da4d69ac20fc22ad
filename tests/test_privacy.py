"""Nothing that tells who a patient is, in lines and in reports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from ctdenoise.cli import main
from tests.conftest import Run
from tests.marked import CANARY, DIGITS, SAID, make_marked
from tests.test_run import report_of


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    return make_marked(tmp_path)


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
