"""The laboratory through its command line."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ctdenoise.cli import main
from ctdenoise.evaluation.images import references
from ctdenoise.evaluation.noises import Noise
from ctdenoise.evaluation.summary import mean_with_interval
from ctdenoise.evaluation.table import Row
from tests.conftest import SAMPLE, assert_one_line

HALF = "tests.evaluation.conftest:half"
Evaluate = Callable[..., int]


@pytest.fixture
def evaluate(tmp_path: Path) -> Evaluate:
    def run(*options: object, output: str = "out") -> int:
        where = ["--output", str(tmp_path / output), "--threads", "1"]
        return main(["evaluate", *where, *(str(option) for option in options)])

    return run


def rows_in(folder: Path) -> list[dict[str, str]]:
    with (folder / "figures.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def value(rows: list[dict[str, str]], **wanted: str) -> float:
    (row,) = [r for r in rows if wanted.items() <= r.items()]
    return float(row["value"])


def test_photographs(evaluate: Evaluate, photographs: Path, tmp_path: Path) -> None:
    noises = "gaussian:25,salt-pepper:0.05"
    methods = f"lite,tv,identity,{HALF}"
    options = ["--input", photographs, "--noise", noises, "--methods", methods]
    assert evaluate(*options, "--tune-every", "4") == 0
    rows = rows_in(tmp_path / "out")
    assert {row["image"] for row in rows} == {"1.png", "2.png", "3.png"}
    assert {row["method"] for row in rows} == {"lite", "tv", "identity", HALF}
    # Figures are scikit-image's own, on the image that the noise is put in.
    clean = np.asarray(Image.open(photographs / "2.png")) / 255.0
    (two,) = [r for r in references([photographs]) if r.name == "2.png"]
    noisy = two.noisy(*two.load(), Noise("gaussian", 25.0), 0)
    assert np.std(noisy - clean) == pytest.approx(25 / 255, rel=0.05)
    made = np.clip(noisy * 0.5, 0.0, 1.0)
    at = {"image": "2.png", "noise": "gaussian:25", "method": HALF}
    expected = peak_signal_noise_ratio(clean, made, data_range=1.0)
    assert value(rows, metric="psnr", **at) == pytest.approx(expected)
    expected = structural_similarity(clean, made, data_range=1.0)
    assert value(rows, metric="ssim", **at) == pytest.approx(expected)
    summary = (tmp_path / "out" / "summary.md").read_text()
    assert (
        summary.index("| lite |")
        < summary.index("| identity (the noisy image) |")
        < summary.index(f"| {HALF} |")
    )
    page = (tmp_path / "out" / "report.html").read_text()
    assert "not a medical device" in page
    assert not re.findall(r"(?:src|href|url\()[=\s'\"]*(?:https?:)?//", page)


def test_ct(evaluate: Evaluate, two_slices: Path, tmp_path: Path) -> None:
    options = ["--input", two_slices, "--noise", "gaussian:40,lowdose:0.25", "--phantom", "8"]
    assert evaluate(*options, "--methods", "lite") == 0
    rows = rows_in(tmp_path / "out")
    soft = "fat_and_soft_tissue"
    for noise in ("gaussian:40", "lowdose:0.25"):
        for image in ("series 1, slice 1", "series 1, slice 2"):
            at = {"image": image, "noise": noise, "where": soft}
            assert value(rows, metric="rmse_ratio", method="identity", **at) == 1.0
            assert value(rows, metric="rmse_ratio", method="lite", **at) < 0.95
            assert value(rows, metric="bias", method="identity", **at) == 0.0
            assert abs(value(rows, metric="bias", method="lite", **at)) < 1.0
            sharp = value(rows, metric="nps_mean_frequency", method="identity", **at)
            assert 0.2 < sharp < 0.8
    at = {"image": "series 1, slice 1", "noise": "gaussian:40", "method": "identity", "where": soft}
    assert value(rows, metric="rmse", **at) == pytest.approx(40.0, rel=0.03)
    patient = str(pydicom.dcmread(next(two_slices.glob("*.dcm"))).PatientID)
    for name in ("figures.csv", "summary.md", "evaluation.json", "report.html"):
        assert patient not in (tmp_path / "out" / name).read_text()


def test_a_second_run_goes_on(evaluate: Evaluate, photographs: Path, tmp_path: Path) -> None:
    options = ["--input", photographs, "--noise", "gaussian:25", "--tune-every", "0"]
    assert evaluate(*options, "--methods", "identity,tv") == 0
    table = tmp_path / "out" / "figures.csv"
    whole = table.read_text()
    # As after a kill: the last method lacks its end, and the last line its own.
    table.write_text(whole[: whole.rindex("seconds") - 60])
    assert evaluate(*options, "--methods", "identity,tv") == 0

    def figures(text: str) -> list[str]:
        return sorted(line for line in text.splitlines() if ",seconds," not in line)

    assert figures(table.read_text()) == figures(whole)
    before = [line for line in table.read_text().splitlines() if ",seconds," in line]
    assert evaluate(*options, "--methods", f"identity,tv,{HALF}") == 0
    after = table.read_text().splitlines()
    assert set(before) <= set(after)
    assert len(after) > len(before)


def test_other_images_do_not_mix(
    evaluate: Evaluate, photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--noise", "gaussian:25", "--methods", "identity"]
    assert evaluate("--input", photographs, *options) == 0
    assert evaluate("--input", photographs / "1.png", *options) == 2
    assert "holds figures of something else (images)" in capsys.readouterr().err
    assert evaluate("--input", photographs / "1.png", *options, "--overwrite") == 0


def test_gaps_do_not_stop_the_grid(evaluate: Evaluate, photographs: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((64, 64), 90, np.uint8)).save(photographs / "flat.png")
    (photographs / "broken.png").write_bytes(b"nothing")
    bad = "tests.evaluation.conftest:wrong_shape,tests.evaluation.conftest:nothing"
    options = ["--input", photographs, "--noise", "gaussian:25,lowdose:0.5"]
    assert evaluate(*options, "--methods", f"identity,{bad}") == 1
    failed = {
        (row["image"], row["method"].rpartition(":")[2], row["where"])
        for row in rows_in(tmp_path / "out")
        if row["metric"] == "failed"
    }
    reasons = {where for _, _, where in failed}
    assert any("is constant" in reason for reason in reasons)
    assert any("cannot be read as an image" in reason for reason in reasons)
    assert any("no numbers" in reason for reason in reasons)
    assert any("gave (79, 96) for (80, 96)" in reason for reason in reasons)
    assert any("is for CT" in reason for reason in reasons)
    assert value(
        rows_in(tmp_path / "out"), image="1.png", method="identity", metric="psnr"
    ) == pytest.approx(20.2, abs=0.7)
    assert "## Gaps" in (tmp_path / "out" / "summary.md").read_text()


def test_a_real_pair_is_paired_by_position(
    evaluate: Evaluate, two_slices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["simulate", "--input", str(two_slices), "--output", str(tmp_path / "low")]
    assert main([*arguments, "--dose", "0.5", "--views", "180", "--threads", "1"]) == 0
    (low,) = (tmp_path / "low").iterdir()
    min(low.glob("*.dcm")).unlink()
    options = ["--input", low, "--reference", two_slices, "--methods", "lite,identity"]
    assert evaluate(*options) == 0
    rows = rows_in(tmp_path / "out")
    assert len({row["image"] for row in rows}) == 1
    at = {"metric": "rmse_ratio", "where": "fat_and_soft_tissue"}
    assert value(rows, method="lite", **at) < value(rows, method="identity", **at) == 1.0
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(sorted(SAMPLE.glob("*.dcm"))[-1], other)
    assert evaluate("--input", low, "--reference", other, output="b") == 2
    assert "no slice is at the same position" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--noise", "rain:3"], "unknown noise; known are gaussian, spatial, poisson"),
        (["--noise", "gaussian"], "write NAME:STRENGTH"),
        (["--noise", "lowdose:2"], "out of range"),
        (["--noise", "gaussian:9", "--methods", "magic"], "other methods are identity, nlm, tv"),
        (["--noise", "gaussian:9", "--methods", "no.such:thing"], "cannot be imported"),
        (["--methods", "identity"], "give --noise, or --reference"),
        (["--noise", "gaussian:9", "--input", "no_such"], "no such file or folder"),
        (["--noise", "gaussian:9", "--methods", "tv", "--tune-every", "1"], "none is left"),
    ],
)
def test_bad_settings_are_one_line(
    evaluate: Evaluate,
    photographs: Path,
    tmp_path: Path,
    options: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert evaluate("--input", photographs, *options) == 2
    assert_one_line(capsys, said)
    assert not (tmp_path / "out").exists()


def test_interval_is_over_groups() -> None:
    """Many slices of few patients are not many observations."""
    rng = np.random.default_rng(0)
    rows = []
    for group in range(5):
        level = rng.normal(0.0, 1.0)
        for image in range(50):
            of = (str(image), str(group), "ct", "n", 0, "m", 1.0)
            rows.append(Row(*of, "x", "w", np.nan, level, "HU"))
    mean = mean_with_interval(rows)
    assert mean.images == 250
    assert mean.upper - mean.lower > 0.5
    assert mean.lower < mean.value < mean.upper
    assert np.isnan(mean_with_interval(rows[:2]).lower)


def test_changed_pixels_are_other_images(
    evaluate: Evaluate, photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--input", photographs, "--noise", "gaussian:25", "--methods", "identity"]
    assert evaluate(*options) == 0
    shutil.copy(photographs / "1.png", photographs / "2.png")
    assert evaluate(*options) == 2
    assert "holds figures of something else (images)" in capsys.readouterr().err


def test_a_function_cannot_spoil_the_others(
    evaluate: Evaluate, photographs: Path, tmp_path: Path
) -> None:
    methods = "tests.evaluation.conftest:in_place,identity"
    options = ["--input", photographs / "1.png", "--noise", "gaussian:25", "--methods", methods]
    assert evaluate(*options) == 0
    assert value(rows_in(tmp_path / "out"), method="identity", metric="psnr") > 19.0


def test_sixteen_bits_are_read_as_such(tmp_path: Path) -> None:
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    (found,) = references([tmp_path / "ramp.png"])
    np.testing.assert_allclose(found.load()[0], ramp / 65535.0)


def test_the_phantom_tells_what_is_lost(
    evaluate: Evaluate, two_slices: Path, tmp_path: Path
) -> None:
    """A mean over pixels takes noise, sharpness at every contrast, and no detectability."""
    mean = "tests.evaluation.conftest:mean_of_neighbours"
    options = ["--input", two_slices, "--noise", "lowdose:0.25", "--phantom", "12"]
    assert evaluate(*options, "--methods", mean, "--slices", "1") == 0
    rows = [r for r in rows_in(tmp_path / "out") if r["kind"] == "phantom"]
    for contrast in ("+150 HU", "+800 HU"):
        before, after = (
            value(rows, metric="ttf_half", where=contrast, method=m) for m in ("identity", mean)
        )
        assert before == pytest.approx(0.29, rel=0.1)
        assert after < 0.75 * before
    assert value(rows, metric="noise", method="identity") == pytest.approx(24.0, rel=0.1)
    assert value(rows, metric="noise_ratio", method=mean) < 0.65
    low, high = (value(rows, metric="nps_mean_frequency", method=m) for m in (mean, "identity"))
    assert low < 0.8 * high
    for lesion in ("8 mm, +9 HU", "12 mm, +6 HU"):
        kept = value(rows, metric="contrast_kept", where=lesion, method="identity")
        assert kept == pytest.approx(1.0, abs=0.6)
        seen = {m: value(rows, metric="auc", where=lesion, method=m) for m in ("identity", mean)}
        assert 0.6 < seen["identity"] <= 1.0
        lower = value(rows, metric="auc_lower", where=lesion, method=mean)
        upper = value(rows, metric="auc_upper", where=lesion, method=mean)
        assert lower <= seen[mean] <= upper
        assert seen[mean] > seen["identity"] - 0.15
    assert value(rows, metric="invented", method=mean) < 2.0
    page = (tmp_path / "out" / "report.html").read_text()
    assert "channelized Hotelling observer" in page
    assert "TTF, disc of +800 HU" in page


def test_as_it_is_needs_no_truth(evaluate: Evaluate, two_slices: Path, tmp_path: Path) -> None:
    mean = "tests.evaluation.conftest:mean_of_neighbours"
    options = ["--input", two_slices, "--noise", "as-is", "--methods", f"lite,{mean}"]
    assert evaluate(*options) == 0
    rows = rows_in(tmp_path / "out")
    assert {row["kind"] for row in rows} == {"ct"}
    at = {"image": "series 1, slice 1"}
    assert value(rows, metric="edge_kept", method="identity", **at) == 1.0
    assert value(rows, metric="noise_ratio", method="identity", **at) == 1.0
    assert value(rows, metric="edge_kept", method="lite", **at) > 0.97
    assert value(rows, metric="edge_kept", method=mean, **at) < 0.85
    for method in ("lite", mean):
        assert value(rows, metric="noise_ratio", method=method, **at) < 0.5
    assert not [row for row in rows if row["metric"] in ("rmse", "psnr")]


def test_paper_protocol_sees_the_papers_window(
    evaluate: Evaluate, two_slices: Path, tmp_path: Path, small_model: Path
) -> None:
    arguments = ["simulate", "--input", str(two_slices), "--output", str(tmp_path / "low")]
    assert main([*arguments, "--dose", "0.5", "--views", "90", "--threads", "1"]) == 0
    options = ["--input", tmp_path / "low", "--reference", two_slices, "--methods", small_model]
    assert evaluate(*options, "--protocol", "paper-ct") == 0
    summary = (tmp_path / "out" / "summary.md").read_text()
    assert "| method | PSNR, dB | SSIM |" in summary
    assert evaluate(*options, "--window", "-1024,3072", output="b") == 0
    a, b = (
        [r["value"] for r in rows_in(tmp_path / n) if r["where"].startswith("paper")]
        for n in ("out", "b")
    )
    assert sorted(a) == sorted(b)
    assert evaluate(*options, output="c") == 0
    matched = [r["value"] for r in rows_in(tmp_path / "c") if r["where"].startswith("paper")]
    assert sorted(matched) != sorted(a)


def test_tuning_on_other_images(
    evaluate: Evaluate, photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (photographs / "0.png").rename(other / "0.png")
    options = ["--input", photographs, "--noise", "gaussian:25", "--methods", "tv"]
    assert evaluate(*options, "--validation", other) == 0
    rows = rows_in(tmp_path / "out")
    assert {row["image"] for row in rows} == {"1.png", "2.png", "3.png"}
    note = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert [name for _, name, _ in note["tuned_on"]] == ["0.png"]
    table = tmp_path / "out" / "figures.csv"
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(line for line in lines if not line.startswith("3.png")))
    assert "tuning" in capsys.readouterr().err
    assert evaluate(*options, "--validation", other) == 0
    assert "tuning" not in capsys.readouterr().err, "what was tuned is in the table"
    assert [row["setting"] for row in rows_in(tmp_path / "out")] == [row["setting"] for row in rows]
    shutil.copy(photographs / "1.png", other / "same.png")
    capsys.readouterr()
    assert evaluate(*options, "--validation", other, output="b") == 2
    assert_one_line(capsys, "--validation holds images or series that are judged as well")


def test_too_little_of_a_tissue_is_a_gap_that_is_said(
    evaluate: Evaluate, two_slices: Path, tmp_path: Path
) -> None:
    """Half of each slice is cut away, where the spine is: no bone."""
    for path in two_slices.glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        pixels = dataset.pixel_array.copy()
        pixels[pixels > 1024 + 180] = 1024 + 50
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(path)
    options = ["--input", two_slices, "--noise", "gaussian:20", "--phantom", "0"]
    assert evaluate(*options, "--methods", "identity") == 0
    rows = rows_in(tmp_path / "out")
    assert not [r for r in rows if r["where"] == "bone" and r["metric"] == "rmse"]
    said = "bone: too few pixels in 2 of 2 images"
    for name in ("summary.md", "report.html"):
        assert said in (tmp_path / "out" / name).read_text()


def test_a_shifted_pair_is_refused(
    evaluate: Evaluate, two_slices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(two_slices, other)
    for path in other.glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.ImagePositionPatient[0] += 5.0
        dataset.save_as(path)
    assert evaluate("--input", other, "--reference", two_slices, "--methods", "identity") == 2
    assert_one_line(capsys, "begin at different corners")


def test_two_reconstructions_of_one_patient_are_one_group(two_slices: Path, tmp_path: Path) -> None:
    other = tmp_path / "sharp"
    shutil.copytree(two_slices, other)
    for path in other.glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID += ".9"
        dataset.SOPInstanceUID += ".9"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.save_as(path)
    found = references([two_slices, other])
    assert {r.group for r in found} == {"patient 1"}
    assert len({r.name for r in found}) == 4


def test_photographs_and_ct_in_one_folder(
    photographs: Path, two_slices: Path, tmp_path: Path
) -> None:
    shutil.copy(next(two_slices.glob("*.dcm")), photographs)
    assert sorted({r.kind for r in references([photographs])}) == ["ct", "photograph"]


def test_figures_of_changed_weights_are_made_anew(
    evaluate: Evaluate, photographs: Path, small_model: Path, tmp_path: Path
) -> None:
    from ctdenoise.models.files import load_model, save_model

    model = load_model(small_model)
    path = tmp_path / "model.safetensors"

    def save() -> None:
        save_model(path, model.network, replace(model.card, name="mine"))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        path.with_name("SHA256SUMS").write_text(f"{digest}  {path.name}\n")

    save()
    monkey = {"lite": path}
    options = ["--input", photographs, "--noise", "gaussian:25", "--methods", "lite,tv"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ctdenoise.models.registry.embedded_path", monkey.__getitem__)
        assert evaluate(*options, "--tune-every", "0") == 0
        before = rows_in(tmp_path / "out")
        with torch.no_grad():
            model.network.decoder.last.weight.mul_(0.5)
        save()
        assert evaluate(*options, "--tune-every", "0") == 0
    after = rows_in(tmp_path / "out")
    at = {"image": "1.png", "metric": "psnr"}
    assert value(before, method="lite", **at) != value(after, method="lite", **at)
    # The other's figures, its time included, are those of the first run.
    assert [r for r in before if r["method"] == "tv"] == [r for r in after if r["method"] == "tv"]
