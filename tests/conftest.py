"""Fixtures: real DICOM, a small model, and data that may not be at hand."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from torch import nn

from ctdenoise.cli import main
from ctdenoise.models.card import ModelCard
from ctdenoise.models.files import save_model
from ctdenoise.networks import CLIPDenoiser

# How long an example takes says more of the machine than of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "sample_dicom"
Run = Callable[..., int]
SHARED = Path(os.environ.get("CTDENOISE_TEST_DATA", ROOT.parent / "shared"))


def randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random BatchNorm: as it is first built, it hides the residual branches."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.normal_(0.0, 0.1, generator=generator)
                module.running_mean.normal_(0.0, 0.1, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)
    return network


@pytest.fixture
def shared() -> Path:
    """Real CT of many makers and formats, too much to carry along."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"needs the larger test data: set CTDENOISE_TEST_DATA (now {SHARED})")
    return SHARED


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the paper's shape, small, with random weights: it changes what it is given."""
    torch.manual_seed(0)
    network = randomise(CLIPDenoiser(width=8, layers=(1, 1, 1), residual=True))
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    save_model(
        path,
        network,
        ModelCard(
            name="small",
            description="random weights",
            licence="Apache-2.0",
            encoder="random",
            training_data="none",
            training_noise="none",
            matched_sigma=0.08,
            bounded=False,
            residual=True,
        ),
    )
    return path


@pytest.fixture
def run(small_model: Path, tmp_path: Path) -> Run:
    """Run the command with the small model, writing to tmp_path/out."""

    def call(source: Path, *arguments: object) -> int:
        options = [str(a) for a in arguments]
        if "--model" not in options:
            options += ["--model", str(small_model)]
        if "--output" not in options:
            options += ["--output", str(tmp_path / "out")]
        if "--batch-size" not in options:
            options += ["--batch-size", "1"]  # on a GPU as well
        return main(["run", "--input", str(source), *options])

    return call


def assert_one_line(capsys: pytest.CaptureFixture[str], said: str) -> None:
    """What a user reads of bad input holds ``said``, and is one line."""
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.fixture
def two_slices(tmp_path: Path) -> Path:
    """The first two files of the sample series."""
    folder = tmp_path / "two"
    folder.mkdir()
    for path in sorted(SAMPLE.glob("*.dcm"))[:2]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture
def series_dir(tmp_path: Path) -> Path:
    """Three slices of the sample series, to be tampered with."""
    folder = tmp_path / "series"
    folder.mkdir()
    for name in ("1-12.dcm", "1-13.dcm", "1-14.dcm"):
        shutil.copy(SAMPLE / name, folder)
    return folder
