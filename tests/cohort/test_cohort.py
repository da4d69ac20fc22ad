"""A cohort on a real scheduler with two workers: the same result as a run, whatever happens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from distributed import Client, SpecCluster

from ctdenoise import __version__
from ctdenoise.cli import main
from ctdenoise.cohort.cluster import local_workers, worker_options
from tests.cohort.conftest import (
    PATIENT,
    Cohort,
    break_pixels,
    make_patient,
    rows_of,
    running,
    start,
    uid_of,
    wait_for,
    zipped,
)
from tests.conftest import Run, assert_one_line
from tests.made import make
from tests.test_run import outputs, report_of

Order = Callable[[Path, str], str]


def assert_same(ours: Path, theirs: Path) -> None:
    """Two folders hold the same derived series."""
    folders = sorted(path.name for path in theirs.iterdir())
    assert sorted(path.name for path in ours.glob("series-*")) == folders
    for mine, other in zip(outputs(ours), outputs(theirs), strict=True):
        assert mine.SOPInstanceUID == other.SOPInstanceUID
        assert mine.SeriesInstanceUID == other.SeriesInstanceUID
        assert mine.PixelData == other.PixelData
    for path in theirs.rglob("*.nii.gz"):
        mine, other = nibabel.load(ours / path.relative_to(theirs)), nibabel.load(path)
        np.testing.assert_array_equal(mine.dataobj, other.dataobj)


def test_same_as_a_run(cohort: Cohort, run: Run, series: list[Path], tmp_path: Path) -> None:
    make("volume", tmp_path / "in" / "volume", 4)
    (tmp_path / "in" / "readme.txt").write_text("hello")
    assert cohort(tmp_path / "in") == 0
    alone = tmp_path / "alone"
    assert run(tmp_path / "in", "--output", alone, "--report", tmp_path / "r.json") == 0
    assert_same(tmp_path / "out", alone)
    rows = {row["series_uid"]: row for row in rows_of(tmp_path / "out")}
    assert len(rows) == 5
    for expected in report_of(tmp_path / "r.json")["series"]:
        row = rows[expected["source_series_uid"]]
        assert row["status"] == "done"
        assert row["new_series_uid"] == expected["new_series_uid"]
        assert row["folder"] == expected["output"]
        assert int(row["slices"]) == expected["slices"]
        assert float(row["noise_after_hu"]) == expected["noise_after"]
        assert row["tries"] == "1"
        report = report_of(tmp_path / "out" / "reports" / f"{row['folder']}.json")
        assert report["series"][0]["instances"] == expected["instances"]
        assert report["series"][0]["settings"] == expected["settings"]


def test_parquet_is_the_same_table(cohort: Cohort, series: list[Path], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert cohort(series[0]) == 0
    found = parquet.read_table(tmp_path / "out" / "cohort.parquet").to_pylist()
    assert [
        {name: "" if value is None else str(value) for name, value in row.items()} for row in found
    ] == rows_of(tmp_path / "out")


def test_worker_killed_on_the_way(
    cohort: Cohort,
    run: Run,
    series: list[Path],
    order: Order,
    cluster: SpecCluster,
    tmp_path: Path,
) -> None:
    for folder in series:
        order(folder, "slow")
    with Client(cluster) as client:
        before = client.run(os.getpid)

        def kill() -> None:
            wait_for(lambda: list(tmp_path.glob("out/reports/series-*.json")))
            time.sleep(0.5)
            os.kill(next(iter(before.values())), signal.SIGKILL)

        with running(kill):
            assert cohort(tmp_path / "in") == 0
        client.wait_for_workers(2, timeout=30)
        assert len(set(client.run(os.getpid).values()) & set(before.values())) == 1
    assert [row["status"] for row in rows_of(tmp_path / "out")] == ["done"] * 4
    assert sum(int(row["deaths"]) for row in rows_of(tmp_path / "out")) == 1
    assert run(tmp_path / "in", "--output", tmp_path / "alone") == 0
    assert_same(tmp_path / "out", tmp_path / "alone")
    assert not list((tmp_path / "out").rglob(".part*"))


def test_what_fails_is_tried_again_and_then_left_alone(
    cohort: Cohort,
    series: list[Path],
    order: Order,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    killing = order(series[0], "kill")
    failing = order(series[1], "fail")
    lucky = order(series[2], "fail once")
    break_pixels(series[3])
    fine = uid_of(make_patient(tmp_path / "in" / "fine"))
    assert cohort(tmp_path / "in") == 1
    rows = {row["series_uid"]: row for row in rows_of(tmp_path / "out")}
    assert rows[killing]["status"] == "failed"
    assert rows[killing]["reason"] == "killed its worker 3 times"
    assert rows[failing]["status"] == "failed"
    assert rows[failing]["tries"] == "3"
    assert rows[lucky]["status"] == "done"
    # Not always the second: a worker that dies with a result it has not told does it again.
    assert rows[lucky]["tries"] in ("1", "2")
    assert rows[uid_of(series[3])]["status"] == "refused"
    assert rows[uid_of(series[3])]["tries"] == "1"
    assert rows[fine]["status"] == "done"
    error = capsys.readouterr().err
    assert f"{rows[killing]['folder']}: failed: killed its worker 3 times" in error
    page = (tmp_path / "out" / "summary.html").read_text()
    assert "killed its worker 3 times" in page
    assert "not a medical device" in page


def test_nothing_is_done_twice(
    cohort: Cohort,
    series: list[Path],
    order: Order,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    order(series[0], "fail")
    assert cohort(tmp_path / "in", "--retries", 0) == 1
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/series-*/*")}
    reports = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/reports/*.json")}
    order(series[0], "slow")
    assert cohort(tmp_path / "in") == 0
    assert "3 of 4 inputs are done by their reports" in capsys.readouterr().err
    assert sorted(row["tries"] for row in rows_of(tmp_path / "out")) == ["0", "0", "0", "1"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert sum(path.stat().st_mtime_ns != at for path, at in reports.items()) == 1
    # With all done, no scheduler is needed to say so.
    assert cohort(tmp_path / "in", "--scheduler", "tcp://127.0.0.1:9") == 0
    assert [row["status"] for row in rows_of(tmp_path / "out")] == ["done"] * 4
    # Other settings are another run, which is not to be mixed with this one.
    assert cohort(tmp_path / "in", "--strength", 0.5) == 1
    assert "use --overwrite" in capsys.readouterr().err
    assert cohort(tmp_path / "in", "--strength", 0.5, "--overwrite") == 0


def test_manifest(
    cohort: Cohort,
    run: Run,
    series: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    two = tmp_path / "two"
    two.mkdir()
    for folder in series[:2]:
        folder.rename(two / folder.name)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / f"{PATIENT}.txt").write_text("hello")
    (tmp_path / "broken.zip").write_bytes(b"no zip")
    manifest = tmp_path / "cohort.csv"
    archive = zipped(series[2])
    rows = [
        ("two", "a"),
        (archive, "b"),
        (series[3], "c"),
        (series[3], "again"),
        (f"{PATIENT}/nowhere", "d"),
        ("", "e"),
        ("text", "f"),
        ("broken.zip", "g"),
    ]
    manifest.write_text("id,path\n" + "".join(f"{id},{path}\n" for path, id in rows))
    assert cohort(manifest) == 1
    found = rows_of(tmp_path / "out")
    by_id = {row["id"]: row for row in found}
    assert sorted(row["id"] for row in found) == ["a", "a", "again", "b", "c", "d", "e", "f", "g"]
    assert {row["id"] for row in found if row["status"] == "done"} == {"a", "b", "c", "again"}
    assert by_id["again"]["folder"] == by_id["c"]["folder"]
    assert by_id["d"]["input"] == "line 6"
    assert by_id["d"]["reason"] == "no such file or folder"
    assert by_id["e"]["reason"] == "has no path"
    assert by_id["f"]["status"] == "refused"
    assert "no CT series to denoise (1 files: not a DICOM file)" in by_id["f"]["reason"]
    assert "is no zip, or damaged" in by_id["g"]["reason"]
    assert "line 6: failed: no such file or folder" in capsys.readouterr().err
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(two / "third")
    series[3].rename(two / "fourth")
    assert run(two, "--output", tmp_path / "alone") == 0
    assert_same(tmp_path / "out", tmp_path / "alone")
    assert not list((tmp_path / "out").glob(".unpacked*"))


def test_a_run_beside_it_leaves_what_a_worker_has_unpacked(
    cohort: Cohort, run: Run, series: list[Path], order: Order, orders: Path, tmp_path: Path
) -> None:
    uid = order(series[0], "wait")
    archive = zipped(series[0])
    (tmp_path / "cohort.csv").write_text(f"path\n{archive}\n")
    out = tmp_path / "out"

    def run_beside() -> None:
        try:
            wait_for(lambda: list(out.glob("reports/.claims/series-*")))
            (unpacked,) = (path for path in out.glob(".unpacked-*") if path.is_dir())
            assert unpacked.stat().st_mode & 0o777 == 0o700
            assert run(series[1]) == 0
            assert len(list(unpacked.rglob("*.dcm"))) == 3
        finally:
            (orders / uid).unlink()

    with running(run_beside):
        assert cohort(tmp_path / "cohort.csv") == 0
    assert not list(out.glob(".unpacked*"))
    assert len(list(out.glob("series-*/*.dcm"))) == 6


def test_series_that_kills_its_worker_spares_the_others_of_its_path(
    cohort: Cohort, series: list[Path], order: Order, tmp_path: Path
) -> None:
    order(series[1], "kill")
    (tmp_path / "cohort.csv").write_text("path\nin\n")
    assert cohort(tmp_path / "cohort.csv", "--retries", 0) == 1
    reasons = [row["reason"] for row in rows_of(tmp_path / "out")]
    assert sorted(reasons) == ["", "", "", "killed its worker once"]


def test_manifest_is_resumed(cohort: Cohort, series: list[Path], tmp_path: Path) -> None:
    manifest = tmp_path / "cohort.csv"
    manifest.write_text("path\n" + "".join(f"{folder}\n" for folder in series[:2]))
    assert cohort(manifest) == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/series-*/*")}
    assert cohort(manifest, "--scheduler", "tcp://127.0.0.1:9") == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert [row["tries"] for row in rows_of(tmp_path / "out")] == ["0", "0"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,id\na,b\n", "has no column 'path'; its first line must name its 2 columns"),
        ("", "has no column 'path'"),
        ("path\n", "has no rows"),
        ("path\n\xff", "is no CSV in UTF-8"),
    ],
)
def test_manifest_that_is_none(
    cohort: Cohort,
    tmp_path: Path,
    text: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "m.csv").write_bytes(text.encode("latin-1"))
    assert cohort(tmp_path / "m.csv") == 2
    assert_one_line(capsys, message)


def test_nothing_usable(cohort: Cohort, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cohort(tmp_path / "nowhere") == 2
    assert_one_line(capsys, "no such file or folder")
    (tmp_path / "empty").mkdir()
    assert cohort(tmp_path / "empty") == 2
    assert_one_line(capsys, "no CT series to denoise")
    (tmp_path / "m.csv").write_text("path\nnowhere\n")
    assert cohort(tmp_path / "m.csv", "--quiet") == 2
    assert_one_line(capsys, "line 2: failed: no such file or folder")


def test_unreachable_scheduler(
    cohort: Cohort,
    series: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("ctdenoise.cohort.cluster.CONNECT_SECONDS", 1)
    for address in ("tcp://127.0.0.1:9", "nonsense", "http://x"):
        assert cohort(tmp_path / "in", "--scheduler", address) == 2
        assert_one_line(capsys, f"--scheduler {address}: no Dask scheduler there")
    assert not (tmp_path / "out" / "cohort.csv").exists()


def test_workers_that_cannot(
    cohort: Cohort, series: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cohort(series[0], "--precision", "fp16") == 2
    assert_one_line(capsys, "no worker can do it: --precision fp16 needs a GPU")
    assert cohort(series[0], "--device", "cuda") == 2
    assert_one_line(capsys, "no worker has a GPU")
    assert cohort(series[0], "--device", "cuda:7", "--scheduler", "local") == 2
    assert_one_line(capsys, "--device cuda:7: no such CUDA GPU here")


def test_worker_that_cannot_is_left_out(
    cohort: Cohort, series: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = worker_options(2)
    with local_workers([good, bad | {"preload": ["tests.cohort.outdated"]}]) as workers:
        assert cohort(tmp_path / "in", "--scheduler", workers.scheduler_address) == 0
    said = f"is left out: has ctdenoise 0.0.0, not {__version__}"
    assert said in capsys.readouterr().err
    assert [row["status"] for row in rows_of(tmp_path / "out")] == ["done"] * 4


def test_scheduler_that_goes_away(
    cohort: Cohort,
    series: list[Path],
    orders: Path,
    order: Order,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for folder in series:
        order(folder, "slow")
    workers = start(orders, 1)

    def close() -> None:
        wait_for(lambda: list(tmp_path.glob("out/reports/series-*.json")))
        workers.close()

    with running(close):
        address = workers.scheduler_address
        assert cohort(tmp_path / "in", "--scheduler", address, "--quiet") == 2
    assert_one_line(capsys, f"the scheduler at {address} is gone; what is finished is kept")
    assert cohort(tmp_path / "in") == 0
    assert "0" in [row["tries"] for row in rows_of(tmp_path / "out")]


def test_interrupt_keeps_what_is_finished(
    cohort: Cohort, small_model: Path, tmp_path: Path, series: list[Path]
) -> None:
    make("series", tmp_path / "in" / "long", 300)
    command = [sys.executable, "-m", "ctdenoise", "cohort", "--input", tmp_path / "in"]
    command += ["--output", tmp_path / "out", "--model", small_model, "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    wait_for(lambda: list(tmp_path.glob("out/reports/series-*.json")))
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    error = process.communicate(timeout=30)[1]
    assert process.returncode == 130
    assert error.splitlines()[-1].startswith("ctdenoise: interrupted; what is finished is kept")
    assert "Traceback" not in error
    assert cohort(tmp_path / "in") == 0
    assert len(outputs(tmp_path / "out")) == 12 + 300


def test_a_gpu_each() -> None:
    options = worker_options(3, ["GPU-a", "GPU-b"])
    visible = [one["env"]["CUDA_VISIBLE_DEVICES"] for one in options]
    assert visible == ["GPU-a", "GPU-b", "GPU-a"]
    assert [one["resources"] for one in options] == [{"GPU": 1}] * 3
    assert all("env" not in one for one in worker_options(2))


def test_names_of_patients_are_nowhere(
    small_model: Path,
    series: list[Path],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Not in what is written beside DICOM, and not in what workers of our own say."""
    break_pixels(series[0])
    (broken,) = list(series[1].glob("*0000.dcm"))
    os.truncate(broken, broken.stat().st_size - 1000)
    make("volume", tmp_path / "in" / PATIENT, 3)
    (tmp_path / "in" / PATIENT / "copy.nii.gz").write_bytes(
        (tmp_path / "in" / PATIENT / "volume.nii.gz").read_bytes()
    )
    options = ["--model", str(small_model), "--workers", "2", "--verbose"]
    output = tmp_path / "out"
    code = main(["cohort", "--input", str(tmp_path / "in"), "--output", str(output), *options])
    assert code == 1
    statuses = sorted(row["status"] for row in rows_of(output))
    assert statuses == ["done", "done", "done", "partial", "refused"]
    said = "".join(capfd.readouterr())
    kinds = {".csv", ".html", ".json", ".parquet"}
    for path in output.rglob("*"):
        if path.suffix in kinds:
            said += path.read_bytes().decode("latin-1")
    for name in ("doe", "jane", "19500101", str(tmp_path / "in").lower()):
        assert name not in said.lower()
    assert "left out 1 files: same content as another file" in said


def test_reports_say_what_a_run_says(cohort: Cohort, series: list[Path], tmp_path: Path) -> None:
    assert cohort(series[0]) == 0
    (path,) = (tmp_path / "out" / "reports").glob("series-*.json")
    report = json.loads(path.read_text())
    assert report["disclaimer"] == "For research only: not a medical device."
    assert len(report["model"]["sha256"]) == 64
