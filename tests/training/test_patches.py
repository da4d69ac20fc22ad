"""Images and patches: what training sees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ctdenoise.errors import CTDenoiseError
from ctdenoise.noise import AnyGaussian, Camera, WhiteGaussian, correlated_noise
from ctdenoise.training import NoisyPatches, ValidationImages, read_ct, read_photographs
from ctdenoise.training.patches import BatchRow
from tests.conftest import SAMPLE


def patches(folder: Path, noise: object = None, **options: object) -> NoisyPatches:
    settings = {"seed": 1, "patch_size": 64} | options
    return NoisyPatches(read_photographs(folder), noise or AnyGaussian(), **settings)


def test_an_item_depends_on_seed_and_index_alone(photographs: Path) -> None:
    one, two = (patches(photographs, mixup=1.2) for _ in range(2))
    [two[i] for i in (5, 3)]
    assert torch.equal(one[7]["image"], two[7]["image"])
    assert not torch.equal(one[7]["label"], one[8]["label"])
    assert not torch.equal(one[7]["label"], patches(photographs, seed=2)[7]["label"])


def test_noise_is_as_declared(photographs: Path) -> None:
    row = patches(photographs, max_gain=4.0, subsampled=0.25)
    items = [row[i] for i in range(400)]
    sigmas = np.array([float((item["image"] - item["label"]).std()) for item in items]) * 255
    assert sigmas.max() < 60
    assert sigmas.mean() == pytest.approx(27.5, rel=0.1)
    inside = [bool(item["label"].min() >= 0 and item["label"].max() <= 1) for item in items]
    assert 0.4 < np.mean(inside) < 0.8
    assert items[0]["image"].shape == (1, 64, 64)


def test_mixup_mixes_half_of_the_patches_noise_and_all(photographs: Path) -> None:
    """A mixed noise is weaker than one of two equal ones, by up to a factor of 1 / sqrt(2)."""
    row = patches(photographs, WhiteGaussian(25), mixup=1.2)
    items = [row[i] for i in range(200)]
    sigmas = np.array([float((item["image"] - item["label"]).std()) for item in items]) * 255
    whole = sigmas > 24
    assert 0.4 < whole.mean() < 0.65
    assert sigmas.min() > 25 / np.sqrt(2) - 1


def test_rgb_recipe_noises(photographs: Path) -> None:
    pytest.importorskip("kornia")
    images = read_photographs(photographs, channels=3)
    row = NoisyPatches(images, Camera(), seed=0, patch_size=64)
    item = row[0]
    assert item["image"].shape == (3, 64, 64)
    assert 0.01 < float((item["image"] - item["label"]).std()) < 0.3
    quiet = NoisyPatches(images, Camera(shot=0.0, read=0.0), seed=0, patch_size=64)[0]
    assert torch.allclose(quiet["image"], quiet["label"])


def test_split_keeps_groups_apart(photographs: Path) -> None:
    images = read_photographs(photographs)
    learn, hold = images.split(0.3, seed=0)
    assert len(learn) == 2
    assert len(hold) == 1
    assert not set(learn.groups) & set(hold.groups)


def test_ct_comes_in_window_units_by_patient() -> None:
    images = read_ct(SAMPLE, window=(-1000.0, 1000.0))
    assert len(images) == len(list(SAMPLE.glob("*.dcm")))
    assert len(set(images.groups)) == 1
    everything = (slice(None), slice(None))
    assert images.unit(0, everything).min() == pytest.approx(-0.012, abs=0.02)
    with pytest.raises(CTDenoiseError, match="all images belong to"):
        images.split(0.5, seed=0)


def test_digest_follows_pixels(photographs: Path) -> None:
    images = read_photographs(photographs)
    assert images.digest() == read_photographs(photographs).digest()
    other = images.arrays[0].copy()
    other[0, 0, 0] ^= 1
    changed = replace(images, arrays=[other, *images.arrays[1:]])
    assert images.digest() != changed.digest()


def test_validation_noise_never_changes(photographs: Path) -> None:
    images = read_photographs(photographs)
    first, second = (ValidationImages(images, WhiteGaussian(15), seed=3) for _ in range(2))
    assert torch.equal(first[1]["image"], second[1]["image"])
    assert first[0]["image"].shape == (1, 256, 256)


def test_processes_share_the_batches_of_one() -> None:
    whole = BatchRow(5, 4)
    halves = [BatchRow(5, 4, rank=rank, processes=2) for rank in (0, 1)]
    assert [a + b for a, b in zip(*halves, strict=True)] == list(whole)
    whole.start = 3
    assert list(whole) == [[12, 13, 14, 15], [16, 17, 18, 19]]
    with pytest.raises(CTDenoiseError, match="cannot be shared"):
        BatchRow(5, 3, processes=2)


def test_folder_without_images_is_said(tmp_path: Path) -> None:
    with pytest.raises(CTDenoiseError, match="no image here"):
        read_photographs(tmp_path)


def test_small_and_broken_photographs_are_said(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((20, 90), np.uint8)).save(tmp_path / "small.png")
    with pytest.raises(CTDenoiseError, match=r"small\.png: too small for patches"):
        patches(tmp_path)
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(CTDenoiseError, match=r"broken\.png: cannot be read"):
        patches(tmp_path)


def test_streaks_have_their_direction_and_level() -> None:
    """The autocorrelation is that of the filter: exp(-d^2 / (4 s^2)) along and across."""
    rng = np.random.default_rng(0)
    noise = correlated_noise((40, 64, 64), 5.0, rng, correlation=0.8, along=3.0, angle=0.0)
    assert noise.std() == pytest.approx(5.0, rel=0.02)
    for axis, shift, length in ((2, 3, 3.0), (1, 1, 0.8)):
        found = np.mean(noise * np.roll(noise, shift, axis)) / noise.var()
        assert found == pytest.approx(np.exp(-(shift**2) / (4 * length**2)), abs=0.03)
    turned = correlated_noise((40, 64, 64), 5.0, rng, correlation=0.8, along=3.0, angle=np.pi / 2)
    found = np.mean(turned * np.roll(turned, 3, 1)) / turned.var()
    assert found == pytest.approx(np.exp(-9 / 36), abs=0.03)


def test_uneven_noise_keeps_its_level() -> None:
    clean = np.zeros((1, 96, 96), np.float32)
    even, uneven = (
        AnyGaussian(correlated=0.0, uneven=share, max_sigma=255.0) for share in (0.0, 1.0)
    )
    spread = []
    for noise in (even, uneven):
        rng = np.random.default_rng(3)
        patches = np.stack([noise(clean, rng)[0][0] for _ in range(60)])
        tiles = patches.reshape(60, 4, 24, 4, 24).std((2, 4)).reshape(60, 16)
        spread.append(float(np.mean(tiles.std(1) / tiles.mean(1))))
        assert np.sqrt(np.mean(patches**2)) == pytest.approx(np.sqrt(1 / 3), rel=0.15)
    assert spread[0] < 0.05
    assert spread[1] > 2 * spread[0]
