"""The example for Slurm, with stand-ins for Slurm's commands that run jobs on this machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.cohort.conftest import rows_of

pytest.importorskip("dask_jobqueue")

from pipelines.cohort_slurm import main

pytestmark = pytest.mark.skipif(shutil.which("setsid") is None, reason="its Slurm needs setsid")

SBATCH = """#!/bin/bash
for script; do :; done
cp "$script" "$script.kept"  # dask-jobqueue removes it
SLURM_CPUS_PER_TASK=1 setsid bash "$script.kept" >> {log} 2>&1 < /dev/null &
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/bash
kill -- -$1 2> /dev/null || true
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Slurm's commands; returns the log of the jobs."""
    folder, log = tmp_path / "bin", tmp_path / "jobs.log"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH.format(log=log)), ("scancel", SCANCEL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return log


def test_jobs_come_and_do_the_cohort(
    slurm: Path, series: list[Path], small_model: Path, tmp_path: Path
) -> None:
    cohort = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    options = ["--jobs", "2", "--memory", "2GB", "--logs", str(tmp_path / "logs"), "--"]
    assert main([*options, *cohort, "--model", str(small_model), "--quiet"]) == 0
    assert [row["status"] for row in rows_of(tmp_path / "out")] == ["done"] * 4
    assert "Starting Worker plugin ctdenoise" in slurm.read_text()


def test_the_job(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cpus", "6", "--gpu", "--partition", "short", "--script"]) == 0
    script = capsys.readouterr().out
    for said in ("-p short", "--cpus-per-task=6", "--gres=gpu:1", "--resources GPU=1"):
        assert said in script
    assert "--nthreads 1 " in script
