"""The recipes, small and end to end: what is learned, and what a kill may not change."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import monai.bundle
import numpy as np
import pydicom
import pytest
import torch
from safetensors.torch import load_file, save_file

from ctdenoise.cli import main
from ctdenoise.models.files import digest, load_model
from ctdenoise.networks import DenseEncoder
from ctdenoise.training.trainer import latest_checkpoint
from tests.conftest import ROOT, SAMPLE, randomise
from tests.training.conftest import SMALL

Train = Callable[..., int]
RANDOM = ["encoder=random"]


def model_in(folder: Path) -> Path:
    (path,) = (p for p in folder.glob("*.safetensors"))
    return path


@pytest.mark.parametrize("recipe", ["train_synthetic", "train_srgb", "train_lite"])
def test_recipe_learns_from_photographs(recipe: str, train: Train, tmp_path: Path) -> None:
    if recipe == "train_srgb":
        pytest.importorskip("kornia")
    assert train(recipe, output=tmp_path, settings=RANDOM) == 0
    model = load_model(model_in(tmp_path))
    facts = model.card.training
    assert facts is not None
    assert facts["iterations_done"] == 8
    assert len(facts["data_sha256"]) == 64
    assert {"seed", "commit", "config"} <= facts.keys()
    assert facts["validation"]["psnr"] > 5
    assert -1 <= facts["validation"]["ssim"] <= 1
    assert model.network.in_channels == (1 if recipe == "train_lite" else 3)
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_ct_recipe_learns_from_dicom_and_its_model_runs(
    train: Train, tmp_path: Path, shared: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    shutil.copytree(SAMPLE, data / "a")
    shutil.copytree(next((shared / "data" / "ct").glob("dcmqi*")), data / "b")
    assert train("train_ldct", output=tmp_path / "run", data=data, settings=RANDOM) == 0
    card = load_model(tmp_path / "run" / "train_ldct.safetensors").card
    assert card.unit_window == (-1024.0, 3072.0)
    assert card.matched_sigma == pytest.approx(80 / 4096)
    assert card.training_noise == "white Gaussian, sigma 80.0 HU"
    out = tmp_path / "out"
    model = str(tmp_path / "run" / "train_ldct.safetensors")
    assert main(["run", "--input", str(SAMPLE), "--output", str(out), "--model", model]) == 0
    assert len(list(out.rglob("*.dcm"))) == len(list(SAMPLE.glob("*.dcm")))


def test_ct_recipe_needs_two_patients(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("train_ldct", output=tmp_path, data=SAMPLE, settings=RANDOM) == 2
    said = capsys.readouterr().err
    assert "all images belong to" in said
    patient = pydicom.dcmread(next(SAMPLE.glob("*.dcm"))).PatientID
    assert patient
    assert patient not in said


def test_bundle_runs_the_same_recipe(train: Train, photographs: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    assert train("train_lite", output=tmp_path / "a", settings=RANDOM) == 0
    overrides = dict(setting.split("=") for setting in SMALL + RANDOM)
    monai.bundle.run(
        config_file=str(ROOT / "configs" / "train_lite.json"),
        data=str(photographs),
        output_dir=str(tmp_path / "b"),
        **{k: v if k in ("encoder", "layers") else int(v) for k, v in overrides.items()}
        | {"layers": [1, 1, 1]},
    )
    a, b = (load_file(model_in(tmp_path / name)) for name in "ab")
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_pretrained_encoder_stays_bit_for_bit(train: Train, tmp_path: Path) -> None:
    assert train("pretrain_lite", output=tmp_path / "encoder") == 0
    path = model_in(tmp_path / "encoder")
    encoder = load_file(path)
    assert train("train_lite", output=tmp_path / "run", settings=[f"encoder={path}"]) == 0
    model = load_model(model_in(tmp_path / "run"))
    for name, tensor in model.network.encoder.state_dict().items():
        assert torch.equal(tensor, encoder[name]), name
    assert model.card.training is not None
    assert model.card.training["encoder_sha256"] == digest(encoder)
    assert torch.equal(model.network.first.weight, torch.ones(3, 1, 1, 1))


def test_encoder_that_learns_changes(train: Train, tmp_path: Path) -> None:
    encoder = randomise(DenseEncoder(8, (1, 1, 1)))
    save_file(encoder.state_dict(), tmp_path / "encoder.safetensors")
    settings = [f"encoder={tmp_path / 'encoder.safetensors'}", "network_def#frozen=false"]
    assert train("train_lite", output=tmp_path / "run", settings=settings) == 0
    trained = load_file(model_in(tmp_path / "run"))
    assert not torch.equal(trained["encoder.conv1.weight"], encoder.conv1.weight)


@pytest.mark.parametrize("form", ["ours", "visual", "published"])
def test_clip_encoder_is_taken_by_file(form: str, train: Train, tmp_path: Path) -> None:
    encoder = randomise(DenseEncoder(8, (1, 1, 1))).state_dict()
    prefix = {"ours": "encoder.", "visual": "visual.", "published": "encoder."}[form]
    tensors = {prefix + name: tensor for name, tensor in encoder.items()}
    path = tmp_path / ("clip.pth" if form == "published" else "clip.safetensors")
    if form == "published":
        torch.save({"params": tensors}, path)
    else:
        save_file(tensors, path)
    settings = ["encoder=clip-rn50", f"clip_weights={path}"]
    assert train("train_synthetic", output=tmp_path / "run", settings=settings) == 0
    trained = load_model(model_in(tmp_path / "run")).network.encoder.state_dict()
    assert torch.equal(trained["layer2.0.conv1.weight"], encoder["layer2.0.conv1.weight"])


def start(output: Path, photographs: Path, *settings: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ctdenoise", "train", "--config", "train_lite"]
    where = ["--data", str(photographs), "--output", str(output), "--threads", "1"]
    return subprocess.Popen(
        [*command, *where, *SMALL, *RANDOM, *settings],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def test_killed_training_ends_as_an_unbroken_one(photographs: Path, tmp_path: Path) -> None:
    long = ["iterations=60", "epoch_length=5", "patches#mixup=1.2", "plan#momentum=0.01"]
    whole = start(tmp_path / "whole", photographs, *long)
    broken = start(tmp_path / "broken", photographs, *long)
    while broken.poll() is None and latest_checkpoint(tmp_path / "broken") is None:
        time.sleep(0.05)
    time.sleep(0.3)
    broken.send_signal(signal.SIGKILL)
    broken.communicate()
    killed_at = latest_checkpoint(tmp_path / "broken")
    assert killed_at is not None
    assert broken.returncode == -signal.SIGKILL, "it ended before it could be killed"
    _, said = start(tmp_path / "broken", photographs, *long).communicate()
    first = re.search(r"(\d+) of 60 iterations", said)
    assert first is not None
    assert int(first[1]) > 5, "it began anew"
    whole.communicate()
    a, b = (load_file(model_in(tmp_path / name)) for name in ("whole", "broken"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_checkpoint_is_there_while_the_next_is_written(train: Train, tmp_path: Path) -> None:
    """The old one goes before the new one comes: one more must be kept than is needed."""
    assert train("train_lite", output=tmp_path, settings=[*RANDOM, "epoch_length=2"]) == 0
    kept = sorted(path.name for path in tmp_path.glob("checkpoint_*.pt"))
    assert kept == ["checkpoint_6.pt", "checkpoint_8.pt"]


def losses(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"-- loss: ([\d.]+)", text)]


def test_two_processes_learn_what_one_does(photographs: Path, tmp_path: Path) -> None:
    """Same loss and same weights from the shared batch; the augmentation is off, as its random
    numbers are each process's own."""
    same = [*SMALL, *RANDOM, "batch_size=4", "network_def#alpha=0.0", "plan#bfloat16=false"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = ["--data", str(photographs), "--threads", "1"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    one = [sys.executable, "-m", "ctdenoise", "train", "--config", "train_lite", *common]
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
    run += [f"--master_port={port}", "-m", "ctdenoise", "train", "--config", "train_lite"]
    run += ["--config", "multi_gpu_train", *common]
    for name, command in (("one", one), ("two", run)):
        command += ["--output", str(tmp_path / name), *same]
        subprocess.run(command, check=True, cwd=ROOT, env=env, capture_output=True)
    a, b = (load_file(model_in(tmp_path / name)) for name in ("one", "two"))
    for name in a:
        np.testing.assert_allclose(a[name].numpy(), b[name].numpy(), atol=2e-5, err_msg=name)


def test_early_stop_ends_a_training_that_gets_no_better(train: Train, tmp_path: Path) -> None:
    settings = [*RANDOM, "iterations=40", "optimizer#lr=0.0", "plan#patience=2"]
    settings += ["lr_scheduler#max_lr=1e-12"]
    assert train("train_lite", output=tmp_path, settings=settings) == 0
    facts = load_model(model_in(tmp_path)).card.training
    assert facts is not None
    assert facts["iterations_done"] < 40


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "no_such"], "embedded recipes are"),
        (["--config", "train_lite", "--data", "no_such"], "no such file or folder"),
        (["--config", "train_lite", "iterations"], "write KEY=VALUE"),
        (["--config", "train_lite", "no_such=1"], "the recipe has no no_such"),
        (["--config", "train_lite", "encoder=no_such"], "no such encoder"),
        (["--config", "train_lite", "encoder=random", "iterations=7"], "not a multiple of epoch"),
        (["--config", "inference"], "a recipe needs a trainer"),
        (["--config", "train_lite", "encoder=random", "device=gpu0"], "use auto, cpu, cuda"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str],
    message: str,
    photographs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    usual = ["train", "--data", str(photographs), "--output", str(tmp_path / "run")]
    assert main([*usual, *words]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ctdenoise:")]
    assert len(said) == 1
    assert message in said[0]
    assert not (tmp_path / "run").exists()


def test_fault_of_a_component_is_said_by_its_own_name(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("train_lite", output=tmp_path, settings=[*RANDOM, "iterations=0"]) == 1
    assert "positive integer total_steps" in capsys.readouterr().err


def test_installed_package_knows_its_recipes(tmp_path: Path) -> None:
    """As the wheel lays it out: the recipes inside the package, which has no checkout about it."""
    package = tmp_path / "ctdenoise"
    shutil.copytree(ROOT / "ctdenoise", package, ignore=shutil.ignore_patterns("weights"))
    shutil.copytree(ROOT / "configs", package / "configs")
    command = [sys.executable, "-m", "ctdenoise", "train", "--config", "no_such", "--data", "."]
    env = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 2
    for name in ("finetune_lite", "pretrain_lite", "train_dncnn", "train_ldct", "train_lite"):
        assert f" {name}, " in done.stderr


def test_finetuning_goes_on_from_a_model(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("train_lite", output=tmp_path / "first", settings=RANDOM) == 0
    first = model_in(tmp_path / "first")
    still = [f"start={first}", "optimizer#lr=0.0", "lr_scheduler#max_lr=0.0"]
    assert train("finetune_lite", output=tmp_path / "same", settings=still) == 0
    before, after = load_file(first), load_file(model_in(tmp_path / "same"))
    # The running mean of weights that do not move still moves their last bits.
    torch.testing.assert_close(after, before, rtol=0.0, atol=1e-6)
    assert train("finetune_lite", output=tmp_path / "n", settings=["start=nothing"]) == 2
    assert "no such denoiser to go on from" in capsys.readouterr().err


def test_dncnn_learns_and_denoises_ct(photographs: Path, tmp_path: Path) -> None:
    where = ["--data", str(photographs), "--output", str(tmp_path / "run"), "--threads", "1"]
    small = [word for word in SMALL if not word.startswith("layers")]
    assert main(["train", "--config", "train_dncnn", *where, *small, "depth=4"]) == 0
    path = model_in(tmp_path / "run")
    network = load_model(path).network
    assert len([m for m in network.modules() if isinstance(m, torch.nn.Conv2d)]) == 4
    arguments = ["run", "--input", str(SAMPLE), "--output", str(tmp_path / "out")]
    assert main([*arguments, "--model", str(path)]) == 0
    with torch.inference_mode():
        image = torch.rand(1, 1, 16, 24)
        torch.testing.assert_close(network(image), image - network.noise(image))
