"""Every command and every Python block of the documentation, run on small data.

A command that is new in the documentation is run too. If it needs something that is not there yet,
it fails, and one of the tables below has to say what.
"""

from __future__ import annotations

import argparse
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from packaging.requirements import Requirement
from PIL import Image
from safetensors.torch import save_file
from skimage import data

from ctdenoise.cli import _parser, main
from ctdenoise.networks import CLIPDenoiser, DenseEncoder
from ctdenoise.series import find, read
from tests.conftest import ROOT, SAMPLE, randomise
from tests.documented import PAGES, Command, blocks, commands, inline
from tests.made import make
from tests.pacs.conftest import free_port, wait_for
from tests.pacs.process import NodeProcess

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
COMMANDS = commands()
COMMAND_NAMES = _parser()._subparsers._group_actions[0].choices

PLACEHOLDERS = {
    "PATH [PATH ...]": "photographs",
    "PATH ...": "photographs",
    "NAME:STRENGTH,...": "gaussian:25",
    "NAME,...": "nlm",
    "[--output DIR] [key=value ...]": "--output DIR",
    "RECIPE": "train_lite",
    "--data DIR": "--data photographs",
    "--data FOLDER": "--data photographs",
    "--output DIR": "--output made",
    "--spool /var/lib/ctdenoise": "--spool spool",
    "/scratch/denoised": "denoised",
    "--device cuda": "--device cpu",
    "device=cuda": "device=cpu",
    "plan#workers=4": "plan#workers=0",
    "--workers 4": "--workers 1",
}
"""What stands in the documentation, and what is run."""

TRAINING = {
    "width": "8",
    "layers": "[1,1,1]",
    "patch_size": "32",
    "batch_size": "2",
    "iterations": "2",
    "epoch_length": "1",
}
OVERRIDES = [f"{key}={value}" for key, value in TRAINING.items()]
QUICK = {
    "ctdenoise train --config pretrain_lite": OVERRIDES,
    "ctdenoise train": [*OVERRIDES, "encoder=random"],
    "python -m monai.bundle run --config_file configs/train_lite.json": [
        *(word for key, value in TRAINING.items() for word in (f"--{key}", value)),
        *("--encoder", "random"),
    ],
    "ctdenoise evaluate": ["--slices", "2", "--phantom", "0", "--threads", "1"],
    "ctdenoise cohort": ["--model", "small.safetensors", "--threads", "1"],
    "python docker/exercise.py": ["--list"],
}
"""What is added to commands that begin so, that they do not take long."""

NOT_RUN = {
    "python3 -m venv": ".ci/run does it",
    "pip install": "installs packages",
    "docker": "needs a container engine",
    "ORTHANC_PASSWORD=choose-one docker": "needs a container engine",
    "install -d -o 10001": "needs to be root",
    "holoscan package": "needs a container engine",
    "python docker/map": "needs packages of MONAI Deploy, which are large",
    "python -m pipelines.cohort_slurm": "needs Slurm; tests/cohort/test_slurm.py has stand-ins",
    "python -m pipelines.compare_encoders": "trains five networks, for an hour and more",
    "torchrun": "tests/training trains in two processes",
    "dask scheduler": "serves; with the cohort that needs it",
    "dask worker": "serves; with the cohort that needs it",
    "ctdenoise serve": "serves; below",
    "ctdenoise run --input dicomweb": "tests/pacs/test_web.py runs it, with a real Orthanc",
}
"""Commands that begin so are only looked at, and why."""


def of(table: dict, command: Command) -> object:
    """The entry of a table for a command, None where there is none."""
    return next((table[begin] for begin in table if command.text.startswith(begin)), None)


RUN = [command for command in COMMANDS if of(NOT_RUN, command) is None]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> Path:
    """What the documentation takes for granted, under the names that it has there."""
    folder = tmp_path_factory.mktemp("documented")
    for name in ("configs", "docker", "sample_dicom"):
        (folder / name).symlink_to(ROOT / name)
    for name in ("series", "patient1", "patient2", "patient3"):
        make("series", folder / name, 3, side=64)
    (folder / "full_dose").symlink_to(folder / "series")
    for name in ("one", "other"):
        for path in make("series", folder / "normal_dose_series" / name, 3, side=64).glob("*.dcm"):
            dataset = pydicom.dcmread(path)
            dataset.PatientID = name
            dataset.save_as(path)
    assert main(["simulate", "--input", str(folder / "series"), "--output", str(folder / "lower"),
                 "--dose", "0.5"]) == 0  # fmt: skip
    (folder / "low_dose").symlink_to(next((folder / "lower").iterdir()))
    photographs(folder / "photographs")
    (folder / "CBSD68").symlink_to(folder / "photographs")
    (folder / "cohort.csv").write_text("path,id\npatient1,a\npatient2,b\n")
    shutil.copy(small_model, folder / "small.safetensors")
    (folder / "runs" / "mine").mkdir(parents=True)
    shutil.copy(small_model, folder / "runs" / "mine" / "ldct.safetensors")
    clip(folder)
    (own,) = [one.text for page in PAGES for one in blocks(page) if "def smooth" in one.text]
    (folder / "my_methods.py").write_text(own)
    return folder


def photographs(folder: Path) -> None:
    folder.mkdir()
    for name in ("camera", "astronaut"):
        image = Image.fromarray(getattr(data, name)()).resize((128, 128))
        image.save(folder / f"{name}.png")


def clip(folder: Path) -> None:
    """Weights of the form of CLIP's, and of a decoder, both small and random."""
    torch.manual_seed(0)
    shape = {"width": 8, "layers": (1, 1, 1)}
    encoder = randomise(DenseEncoder(**shape)).state_dict()
    torch.save({f"visual.{name}": tensor for name, tensor in encoder.items()}, folder / "RN50.pt")
    tensors = CLIPDenoiser(**shape).state_dict()
    decoder = {name: one for name, one in tensors.items() if not name.startswith("encoder.")}
    torch.save({"params": decoder}, folder / "decoder.pth")
    save_file(decoder, folder / "decoder.safetensors")


@pytest.fixture
def place(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all inputs and no output, which is the current one."""
    for path in inputs.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def concrete(command: Command) -> list[str]:
    """The words of a command with what the tables say."""
    text = command.text
    for placeholder, instead in PLACEHOLDERS.items():
        text = text.replace(placeholder, instead)
    return Command(command.page, text).words + list(of(QUICK, command) or [])


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
    "command",
    [command for command in COMMANDS if command not in RUN],
    ids=lambda command: f"{command.page}: {command.text}",
)
def test_command_that_is_not_run_has_options_that_exist(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    looked_at = 0
    for text in command.text.split("&&"):
        words = [word.removeprefix(".venv/bin/") for word in concrete(Command("", text))]
        looked_at += look_at(words, monkeypatch)
    assert looked_at, "nothing of it could be looked at"


def look_at(words: list[str], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether something of a command was compared with what there is."""
    if words[:2] == ["pip", "install"]:
        for word in words[2:]:
            for extra in Requirement(re.sub(r"^\.", "ctdenoise", word)).extras:
                assert extra in EXTRAS
        return True
    if words[0] == "dask":
        return has_options(words)
    files = [word for word in words if word.startswith(("docker/", "configs/"))]
    for file in files:
        assert Path(file).exists()
    if words[:2] == ["python", "-m"]:
        parses(words[2], words[3:], monkeypatch)
        return True
    for at, word in enumerate(words[:-1]):
        if word.partition(":")[0] == "ctdenoise" and words[at + 1] in COMMAND_NAMES:
            _parser().parse_args(words[at + 1 :])
            return True
    return bool(files) or words[0] in ("python3", "pytest", "install")


def has_options(words: list[str]) -> bool:
    """``dask`` with a command; click says what is wrong."""
    pytest.importorskip("distributed")
    from distributed.cli import dask_scheduler, dask_worker

    module = {"scheduler": dask_scheduler, "worker": dask_worker}[words[1]]
    module.main.make_context(words[1], words[2:])
    return True


class ParsedError(BaseException):
    """The arguments of a module were as it wants them."""


def parses(module: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a module parse its arguments, and go no further."""
    parse = argparse.ArgumentParser.parse_args

    def only_parse(parser: argparse.ArgumentParser, given: object = None) -> None:
        options = parse(parser, given)
        raise ParsedError(options)

    if module == "pipelines.cohort_slurm" and find_spec("dask_jobqueue") is None:
        pytest.skip("needs dask-jobqueue: pip install 'ctdenoise[cohort]'")
    if "--" in arguments:
        _parser().parse_args(["cohort", *arguments[arguments.index("--") + 1 :]])
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", only_parse)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with pytest.raises(ParsedError):
        runpy.run_module(module, run_name="__main__")


def test_tables_name_nothing_that_is_gone() -> None:
    texts = [command.text for command in COMMANDS]
    for begin in (*NOT_RUN, *QUICK):
        assert any(text.startswith(begin) for text in texts), begin
    for placeholder in PLACEHOLDERS:
        assert placeholder == "--output DIR" or any(placeholder in text for text in texts)


@pytest.mark.parametrize("command", list(inline()), ids=lambda command: command.text)
def test_command_in_a_sentence_names_what_there_is(command: Command) -> None:
    program, *words = command.words
    if program == "python":
        assert find_spec(words[1]) is not None
        return
    name, *options = words
    assert name in COMMAND_NAMES
    known = COMMAND_NAMES[name]._option_string_actions
    assert {option for option in options if option.startswith("--")} <= set(known)


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
