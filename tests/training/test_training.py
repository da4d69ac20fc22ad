"""Training on photographs: what goes in, what is learned, and what must not change."""

from __future__ import annotations

import json
from pathlib import Path

import monai.bundle
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from skimage import data

from ctdenoise.models.files import load_model
from ctdenoise.training import DenseInfoNCE, NoisyPhotographs, list_images, prepare_views
from tests.conftest import ROOT


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for name in ("camera", "astronaut"):
        Image.fromarray(getattr(data, name)()).save(folder / f"{name}.png")
    return folder


def dataset(photographs: Path, **options: object) -> NoisyPhotographs:
    return NoisyPhotographs(
        list_images(photographs), **({"length": 400, "seed": 1, "patch_size": 64} | options)
    )


def test_an_item_depends_on_seed_and_index_alone(photographs: Path) -> None:
    one, two = dataset(photographs), dataset(photographs)
    [two[i] for i in (5, 3)]
    assert torch.equal(one[7]["image"], two[7]["image"])
    assert not torch.equal(one[7]["label"], one[8]["label"])
    assert not torch.equal(one[7]["label"], dataset(photographs, seed=2)[7]["label"])


def test_noise_is_as_declared(photographs: Path) -> None:
    items = [dataset(photographs)[i] for i in range(400)]
    sigmas = np.array([(item["image"] - item["label"]).std() for item in items]) * 255
    assert sigmas.max() < 60
    assert sigmas.mean() == pytest.approx(27.5, rel=0.1)
    inside = [item["label"].min() >= 0 and item["label"].max() <= 1 for item in items]
    assert 0.4 < np.mean(inside) < 0.75
    assert items[0]["image"].shape == (1, 64, 64)


def test_folder_without_images_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no image in"):
        list_images(tmp_path)


def test_photograph_smaller_than_a_patch_is_said(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 90), np.uint8)).save(tmp_path / "small.png")
    with pytest.raises(ValueError, match="smaller than a patch"):
        dataset(tmp_path)


def test_contrastive_loss_is_low_for_equal_views_and_high_for_unrelated_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    feature = torch.randn(4, 64, 8, 8, generator=generator)
    unrelated = torch.randn(4, 64, 8, 8, generator=generator)
    loss = DenseInfoNCE(positions=128)
    equal = loss([torch.cat([feature, feature])], torch.empty(0))
    random = loss([torch.cat([feature, unrelated])], torch.empty(0))
    assert equal < 0.1
    assert random > np.log(128) - 0.5


def test_views_are_clean_then_distorted() -> None:
    batch = {"label": torch.zeros(2, 1, 4, 4), "image": torch.ones(2, 1, 4, 4)}
    views, _ = prepare_views(batch)
    assert views.shape == (4, 3, 4, 4)
    assert views[:2].max() == 0
    assert views[2:].min() == 1


def run_training(name: str, photographs: Path, output: Path, **override: object) -> None:
    config = json.loads((ROOT / "configs" / name).read_text())
    config["network_def"] |= {"width": 8, "layers": [1, 1, 1]}
    config["dataset"]["patch_size"] = 32
    output.mkdir(exist_ok=True)
    path = output / name
    path.write_text(json.dumps(config))
    settings = {"iterations": 8, "epoch_length": 4, "batch_size": 2}
    monai.bundle.run(
        config_file=str(path),
        photographs=str(photographs),
        output_dir=str(output),
        **(settings | override),
    )


def test_both_stages_run_and_the_encoder_stays_frozen(photographs: Path, tmp_path: Path) -> None:
    run_training("pretrain_lite.json", photographs, tmp_path)
    encoder = load_file(tmp_path / "encoder.safetensors")
    weights = str(tmp_path / "encoder.safetensors")
    run_training("train_lite.json", photographs, tmp_path, encoder_weights=weights)
    trained = load_file(tmp_path / "lite.safetensors")
    for name, tensor in encoder.items():
        assert torch.equal(trained[f"encoder.{name}"], tensor), name
    model = load_model(tmp_path / "lite.safetensors")
    assert model.card.name == "lite"
    assert model.card.training is not None
    assert model.card.training["iterations"] == 8
    assert torch.equal(model.network.first.weight, torch.ones(3, 1, 1, 1))


def test_training_is_reproducible(photographs: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        run_training("pretrain_lite.json", photographs, tmp_path / name)
    a, b = (load_file(tmp_path / name / "encoder.safetensors") for name in "ab")
    assert all(torch.equal(a[name], b[name]) for name in a)
