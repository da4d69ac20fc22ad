"""The analysis of an encoder's features."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.models import resnet50

from ctdenoise.cli import main
from ctdenoise.evaluation.features import cosine, linear_cka, parse_encoder
from ctdenoise.models.registry import load
from tests.conftest import SAMPLE, assert_one_line


def test_cka_of_itself_is_one_and_of_independent_ones_near_zero() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 4000, 20))
    rotation = np.linalg.qr(rng.normal(size=(20, 20)))[0]
    assert linear_cka(a, a) == pytest.approx(1.0)
    assert linear_cka(a, 3.0 * a @ rotation + 5.0) == pytest.approx(1.0)
    assert linear_cka(a, b) < 0.02
    assert cosine(a, 2.0 * a) == pytest.approx(1.0)
    assert abs(cosine(a, b)) < 0.01
    assert np.isnan(linear_cka(a, np.ones_like(a)))


def test_command_tells_same_from_different(
    photographs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--images", str(photographs), "--output", str(tmp_path / "out")]
    assert main(["features", *where, "--noise", "gaussian:15,poisson:3.5"]) == 0
    assert "| gaussian:15, cosine |" in capsys.readouterr().out
    with (tmp_path / "out" / "features.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 2 * 4 * 2 * 2
    for stage in ("F1", "F2", "F3", "F4"):
        mean = {
            pair: np.mean(
                [
                    float(r["value"])
                    for r in rows
                    if (r["stage"], r["pair"], r["measure"]) == (stage, pair, "cosine")
                ]
            )
            for pair in ("same", "different")
        }
        assert mean["same"] > mean["different"] + 0.2
    for name in ("features.png", "tsne.png"):
        with Image.open(tmp_path / "out" / name) as image:
            assert min(image.size) > 300
    assert (tmp_path / "out" / "tsne.svg").read_text().startswith("<?xml")
    assert len((tmp_path / "out" / "tsne.csv").read_text().splitlines()) == 1 + 4 * 3


def test_encoders_by_name_and_file(tmp_path: Path) -> None:
    image = torch.rand(1, 3, 64, 64)
    shipped = load("lite").network.encoder
    tensors = {name: t.contiguous() for name, t in shipped.state_dict().items()}
    save_file(tensors, tmp_path / "encoder.safetensors")
    torch.manual_seed(1)
    supervised = resnet50(weights=None).eval()
    torch.save(supervised.state_dict(), tmp_path / "resnet50.pth")
    with torch.inference_mode():
        for f, g in zip(
            shipped(image),
            parse_encoder(str(tmp_path / "encoder.safetensors"))(image),
            strict=True,
        ):
            torch.testing.assert_close(f, g)
        found = parse_encoder(f"resnet50:{tmp_path / 'resnet50.pth'}")(image)
        assert [f.shape[1] for f in found] == [64, 256, 512, 1024]
        assert [f.shape[2] for f in found] == [32, 16, 8, 4]
        # The last stage and the head of torchvision's own, on what ours gives.
        pooled = supervised.avgpool(supervised.layer4(found[-1])).flatten(1)
        torch.testing.assert_close(supervised.fc(pooled), supervised(image))
        assert [f.shape[1] for f in parse_encoder("random")(image)] == [32, 128, 256, 512]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", "vgg"], "no such file; use random, clip-rn50"),
        (["--model", "clip-rn50"], "needs --clip-weights"),
        (["--model", f"resnet50:{SAMPLE / '1-14.dcm'}"], "1-14.dcm"),
        (["--noise", "rain:1"], "unknown noise"),
    ],
)
def test_bad_settings_are_one_line(
    photographs: Path,
    tmp_path: Path,
    options: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    where = ["--images", str(photographs), "--output", str(tmp_path / "out")]
    assert main(["features", *where, *options]) == 2
    assert_one_line(capsys, said)
    assert main(["features", "--images", str(photographs / "1.png"), *where[2:]]) == 2
    assert "two images or more" in capsys.readouterr().err
