"""The example for Slurm, with stand-ins for Slurm's commands that run jobs on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cohort.conftest import rows_of

pytest.importorskip("dask_jobqueue")
pytest.importorskip("cryptography")

import dask
from distributed import Client

from pipelines.cohort_slurm import main, parsed, slurm_cluster

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
    slurm: Path,
    series: list[Path],
    small_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cohort = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    options = ["--jobs", "2", "--memory", "2GB", "--logs", str(tmp_path / "logs"), "--"]
    assert main([*options, *cohort, "--model", str(small_model), "--quiet"]) == 0
    assert [row["status"] for row in rows_of(tmp_path / "out")] == ["done"] * 4
    assert "Starting Worker plugin ctdenoise" in slurm.read_text()
    assert "scheduler at tls://" in capsys.readouterr().err
    assert "-----BEGIN" not in slurm.read_text()
    assert not list((tmp_path / "logs").glob(".tls*")), "keys go with the command"
    # What comes after is of another command, with no certificate.
    assert dask.config.get("distributed.comm.tls.ca-file") is None


STRANGER = """
import sys
from distributed import Client
from distributed.security import Security

try:
    Client(sys.argv[1], timeout=20, security=Security.temporary())
except OSError as error:
    print(error)
"""


def test_nobody_without_the_certificate_gets_in(tmp_path: Path) -> None:
    with slurm_cluster(parsed(["--logs", str(tmp_path)])) as cluster:
        command = [sys.executable, "-c", STRANGER, cluster.scheduler_address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert "certificate" in done.stdout.lower(), done.stderr
        with Client(cluster) as client:
            assert client.run_on_scheduler(os.getpid) == os.getpid()
        (keys,) = tmp_path.glob(".tls*")
        assert keys.stat().st_mode & 0o077 == 0
    assert not keys.exists()


def test_the_job(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--cpus", "6", "--gpu", "--partition", "short", "--script"]) == 0
    script = capsys.readouterr().out
    for said in ("-p short", "--cpus-per-task=6", "--gres=gpu:1", "--resources GPU=1", "--tls-key"):
        assert said in script
    assert "--nthreads 1 " in script
