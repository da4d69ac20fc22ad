"""Every command and every Python block of the documentation, run on small data.

A command that is new in the documentation is run too. If it needs something that is not there yet,
it fails, and one of the tables in :mod:`tests.docs.tables` has to say what.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from ctdenoise.cli import main
from ctdenoise.series import find, read
from tests.conftest import ROOT, SAMPLE
from tests.docs.extracted import PAGES, Command, blocks
from tests.docs.tables import COMMANDS, RUN, concrete
from tests.pacs.conftest import free_port, wait_for
from tests.pacs.process import NodeProcess


def run(words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> object:
    """Run a command of Python or of ours within this process; gives its exit code."""
    program, *arguments = words
    if program == "PYTHONPATH=.":
        monkeypatch.syspath_prepend(Path.cwd())
        program, *arguments = arguments
    if program == "ctdenoise":
        return main(arguments)
    assert program == "python", f"{program}: it is not known how to run that"
    try:
        if arguments[0] == "-m":
            monkeypatch.setattr(sys, "argv", arguments[1:])
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            monkeypatch.setattr(sys, "argv", arguments)
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as ended:
        return ended.code or 0
    return 0


@pytest.mark.parametrize("command", RUN, ids=lambda command: f"{command.page}: {command.text}")
def test_command_runs(
    command: Command, place: Path, monkeypatch: pytest.MonkeyPatch, dask: Callable[[], str]
) -> None:
    words = concrete(command)
    if "tcp://HOST:8786" in words:
        words[words.index("tcp://HOST:8786")] = dask()
    assert run(words, monkeypatch) == 0


def the(begin: str) -> Command:
    (command,) = [one for one in COMMANDS if one.text.startswith(begin)]
    return command


@pytest.fixture
def dask(place: Path) -> Iterator[Callable[[], str]]:
    """Starts the documented scheduler and worker; gives the scheduler's address."""
    pytest.importorskip("distributed")
    started: list[subprocess.Popen[bytes]] = []

    def serve(command: Command, address: str, said: str, *options: str) -> None:
        words = [address if word == "tcp://HOST:8786" else word for word in command.words]
        log = place / f"{words[1]}.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", *words, *options],
                stderr=file,
                stdout=file,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )
        started.append(process)
        wait_for(lambda: said in log.read_text() or process.poll() is not None)
        assert process.poll() is None, log.read_text()

    def start() -> str:
        port = free_port()
        address = f"tcp://127.0.0.1:{port}"
        here = ("--host", "127.0.0.1", "--no-dashboard")
        serve(the("dask scheduler"), address, "Scheduler at", *here, "--port", str(port))
        serve(the("dask worker"), address, "Registered to", *here)
        return address

    yield start
    for process in reversed(started):
        process.terminate()
        process.wait(120)


@pytest.mark.parametrize(
    "command",
    [command for command in COMMANDS if command.text.startswith("ctdenoise serve")],
    ids=lambda command: command.page,
)
def test_node_serves(command: Command, place: Path) -> None:
    port = str(free_port())
    words = [port if word == "11112" else word for word in concrete(command)]
    quick = ["--http-port", "0", "--host", "127.0.0.1", "--model", str(place / "small.safetensors")]
    spool = [] if "--spool" in words else ["--spool", str(place / "spool")]
    words = [str(place / word) if word == "spool" else word for word in words]
    process = NodeProcess([*words, *quick, *spool], place / "log")
    try:
        process.start()
        assert process.end(signal.SIGTERM) == 0
    finally:
        process.close()


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(one.language == "python" for one in blocks(page))],
    ids=lambda page: page.name,
)
def test_python_runs(page: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    series = find(SAMPLE).series[0]
    images = [read(series, instance) for instance in series.instances[:2]]
    given = {
        "hu": np.concatenate([image.hu for image in images]),
        "padding": np.concatenate([image.padding for image in images]),
    }
    for block in blocks(page):
        if block.language == "python":
            exec(compile(block.text, page.name, "exec"), given)
