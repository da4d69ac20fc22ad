"""What stands in the documentation, and what is run in its place, or why nothing is."""

from __future__ import annotations

from tests.docs.extracted import Command, commands

COMMANDS = commands()

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
    "python -m pipelines.compare_widths": "trains five networks, for half an hour",
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


def concrete(command: Command) -> list[str]:
    """The words of a command with what the tables say."""
    text = command.text
    for placeholder, instead in PLACEHOLDERS.items():
        text = text.replace(placeholder, instead)
    return Command(command.page, text).words + list(of(QUICK, command) or [])
