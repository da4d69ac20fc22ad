"""The laboratory through its command line."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from ctdenoise.cli import main
from ctdenoise.evaluation.grid import Row
from ctdenoise.evaluation.images import Noise, references
from ctdenoise.evaluation.summary import mean_with_interval
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
    assert summary.index("| lite |") < summary.index("| identity |") < summary.index(f"| {HALF} |")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "not a medical device" in page
    assert not re.findall(r"(?:src|href|url\()[=\s'\"]*(?:https?:)?//", page)


def test_ct(evaluate: Evaluate, two_slices: Path, tmp_path: Path) -> None:
    options = ["--input", two_slices, "--noise", "gaussian:40,lowdose:0.5"]
    assert evaluate(*options, "--methods", "lite,identity") == 0
    rows = rows_in(tmp_path / "out")
    soft = "fat_and_soft_tissue"
    for noise in ("gaussian:40", "lowdose:0.5"):
        for image in ("slice 1", "slice 2"):
            at = {"image": image, "noise": noise, "where": soft}
            assert value(rows, metric="rmse_ratio", method="identity", **at) == 1.0
            assert value(rows, metric="rmse_ratio", method="lite", **at) < 0.95
            assert value(rows, metric="bias", method="identity", **at) == 0.0
            assert abs(value(rows, metric="bias", method="lite", **at)) < 1.0
            sharp = value(rows, metric="nps_mean_frequency", method="identity", **at)
            assert 0.2 < sharp < 0.8
    at = {"image": "slice 1", "noise": "gaussian:40", "method": "identity", "where": soft}
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
    assert "holds figures of other images" in capsys.readouterr().err
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
            rows.append(Row(str(image), str(group), "ct", "n", 0, "m", 1.0, "x", "w", level, "HU"))
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
    assert "holds figures of other images" in capsys.readouterr().err


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
