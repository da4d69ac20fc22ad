"""What the documentation takes for granted, small."""

from __future__ import annotations

import shutil
from pathlib import Path

import pydicom
import pytest
import torch
from PIL import Image
from skimage import data

from ctdenoise.cli import main
from ctdenoise.networks import CLIPDenoiser, DenseEncoder
from tests.conftest import ROOT, randomise
from tests.docs.extracted import PAGES, blocks
from tests.made import make


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


@pytest.fixture
def place(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all inputs and no output, which is the current one."""
    for path in inputs.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path
