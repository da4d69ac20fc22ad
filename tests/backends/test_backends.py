"""Every backend against the network as it was trained, in single precision."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ctdenoise.backends import open_backend
from ctdenoise.backends.base import SAVINGS
from ctdenoise.denoiser import Denoiser, match_level
from ctdenoise.errors import CTDenoiseError
from ctdenoise.hounsfield import HU
from ctdenoise.inferer import WholeSliceInferer
from ctdenoise.measured_noise import measure_noise
from ctdenoise.models.card import ModelCard
from ctdenoise.models.files import LoadedModel, load_model, save_model
from ctdenoise.models.registry import load
from ctdenoise.networks import CLIPDenoiser, DnCNN
from ctdenoise.series.pixels import read_image
from ctdenoise.slices import halves
from tests.conftest import ROOT, SAMPLE, randomise
from tests.reference_network import published_weights

BACKENDS = ["torch", "openvino"]
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def card(**fields: object) -> ModelCard:
    plain = {
        "name": "a",
        "description": "",
        "licence": "Apache-2.0",
        "encoder": "random",
        "training_data": "none",
        "training_noise": "none",
        "matched_sigma": 0.08,
    }
    return ModelCard(**(plain | fields))  # type: ignore[arg-type]


@pytest.fixture(
    scope="module",
    params=["published gray", "published rgb", "narrow", "wide", "dncnn", "wide dncnn"],
)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    if request.param.startswith("published"):
        channels = 1 if request.param.endswith("gray") else 3
        weights = {"params": published_weights(8, (1, 2, 1), channels)}
        torch.save(weights, folder / "net.pth")
        return load_model(folder / "net.pth")
    if request.param == "narrow":
        widths = (16, 8, 8, 4, 4)
        network = CLIPDenoiser(width=8, layers=(2, 1, 1), decoder_widths=widths, residual=True)
        save_model(folder / "net.safetensors", randomise(network), card(residual=True))
    elif request.param == "wide":  # of so many channels that multiplications are saved
        network = CLIPDenoiser(width=64, layers=(1, 1, 1), residual=True)
        save_model(folder / "net.safetensors", randomise(network), card(residual=True))
    else:
        width = 64 if request.param.startswith("wide") else 8
        save_model(folder / "net.safetensors", randomise(DnCNN(width=width, depth=5)), card())
    return load_model(folder / "net.safetensors")


def as_trained(model: LoadedModel, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        batch = torch.from_numpy(images)[:, None]
        return np.asarray(WholeSliceInferer()(batch, model.network)[:, 0].numpy())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [(64, 96), (50, 33), (1, 1), (17, 300)])
def test_single_precision_is_the_trained_network(
    model: LoadedModel, backend: str, size: tuple[int, int]
) -> None:
    pytest.importorskip(backend)
    images = np.random.default_rng(0).normal(0.5, 1.0, (3, *size)).astype(np.float32)
    expected = as_trained(model, images)
    found = open_backend(model, backend=backend, device="cpu")(images)
    assert found.shape == images.shape
    assert np.abs(found - expected).max() <= 1e-4 * max(np.ptp(expected), 1.0)


def chest() -> tuple[HU, np.ndarray]:
    image = read_image(SAMPLE / "1-14.dcm")
    return image.hu, image.padding


@pytest.mark.parametrize("backend", BACKENDS)
def test_bf16_hardly_moves_hu(backend: str) -> None:
    """Against fp32: 0.5 HU in the mean, 5 HU at the 99.9th percentile, on a real slice."""
    pytest.importorskip(backend)
    hu, padding = chest()
    lite = load("lite")
    level = match_level(lite.card, measure_noise(zip(hu, padding, strict=True)))
    made = {
        precision: Denoiser(lite, device="cpu", precision=precision, backend=backend)(
            hu, padding, level
        )
        for precision in ("fp32", "bf16")
    }
    change = np.abs(made["bf16"] - made["fp32"])
    assert 0.0 < change.mean() < 0.5
    assert np.percentile(change, 99.9) < 5.0


@pytest.mark.parametrize("backend", BACKENDS)
def test_image_that_goes_straight_through_keeps_its_bits_in_bf16(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that carries the image in 64 channels, as the paper's may: its parts count."""
    pytest.importorskip(backend)
    torch.manual_seed(0)
    network = CLIPDenoiser(width=64, layers=(1, 1, 1))
    shares = torch.rand(64) + 0.5
    with torch.no_grad():
        top = network.decoder.blocks[3]
        for conv in (top[0], top[2], network.decoder.last):  # type: ignore[index]
            conv.weight.zero_()
        top[0].weight[:, -3:, 1, 1] = shares[:, None] / 3.0  # type: ignore[index]
        top[2].weight[:, :, 1, 1] = torch.eye(64)  # type: ignore[index]
        network.decoder.last.weight[0, :, 1, 1] = shares / (shares * shares).sum()
    save_model(tmp_path / "net.safetensors", network, card())
    images = np.random.default_rng(0).uniform(0.4, 1.0, (1, 64, 64)).astype(np.float32)
    carrying = load_model(tmp_path / "net.safetensors")

    def error() -> float:
        compute = open_backend(carrying, backend=backend, device="cpu", precision="bf16")
        return float(np.sqrt(np.mean((compute(images) - images) ** 2)))

    found = error()
    monkeypatch.setitem(SAVINGS, "bf16", 0)
    assert found < 1.6 * error()


@given(arrays(np.float32, (1, 3, 5), elements=st.floats(-30, 30, width=32)))
def test_halves_are_what_few_bits_hold_and_add_up(images: np.ndarray) -> None:
    rounded, rest = torch.from_numpy(halves(images))[0]
    for dtype in (torch.bfloat16, torch.float16):
        if rounded.abs().max() > 1e-4 or dtype == torch.bfloat16:
            close = rounded.to(dtype).float()
            torch.testing.assert_close(close, rounded, rtol=0.0, atol=1e-6)
    torch.testing.assert_close((rounded + rest)[None], torch.from_numpy(images))
    total = rounded.bfloat16().double() + rest.bfloat16().double()
    np.testing.assert_allclose(total.numpy(), images[0], rtol=2.0**-16, atol=1e-30)


def test_auto_takes_the_fastest_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    lite = load("lite")
    assert open_backend(lite, device="cpu").name == "openvino"
    monkeypatch.setattr("ctdenoise.backends.choice.find_spec", lambda _: None)
    assert open_backend(lite, device="cpu").name == "torch"
    with pytest.raises(CTDenoiseError, match="pip install"):
        open_backend(lite, backend="openvino")


@pytest.mark.parametrize("backend", ["auto", *BACKENDS])
def test_fp16_on_a_cpu_is_refused_before_any_work(backend: str) -> None:
    with pytest.raises(CTDenoiseError, match="fp16 needs a GPU"):
        open_backend(load("lite"), backend=backend, device="cpu", precision="fp16")


def test_openvino_is_for_cpus() -> None:
    with pytest.raises(CTDenoiseError, match="use --backend torch for CUDA"):
        open_backend(load("lite"), backend="openvino", device="cuda")


def test_a_kept_graph_needs_no_pytorch_and_a_damaged_one_is_made_anew(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    code = (
        "import sys, numpy as np\n"
        "from ctdenoise.backends import open_backend\n"
        "from ctdenoise.models.registry import load\n"
        "image = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(1, 64, 64)\n"
        "made = open_backend(load('lite'), backend='openvino', device='cpu')(image)\n"
        "print('torch' in sys.modules, float(made.sum()))\n"
    )
    env = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}

    def run() -> list[str]:
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, env=env, cwd=ROOT, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    first, second = run(), run()
    assert [first[0], second[0]] == ["True", "False"]
    assert first[1] == second[1]
    (graph,) = tmp_path.rglob("graph.xml")
    graph.write_text("nothing")
    assert run() == first
    weights = graph.with_name("graph.bin")
    damaged = bytearray(weights.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    weights.write_bytes(damaged)
    assert run() == first
    for path in tmp_path.rglob("graph.*"):
        path.unlink()
    assert run() == first


@GPU
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_gpu_is_the_trained_network(model: LoadedModel, precision: str) -> None:
    images = np.random.default_rng(0).normal(0.5, 1.0, (5, 100, 75)).astype(np.float32)
    expected = as_trained(model, images)
    backend = open_backend(model, device="cuda", precision=precision)  # type: ignore[arg-type]
    tolerance = {"fp32": 1e-4, "bf16": 5e-2, "fp16": 1e-2}[precision]
    for count in (5, 2, 5):
        found = backend(images[:count])
        assert np.abs(found - expected[:count]).max() <= tolerance * np.ptp(expected)


@GPU
def test_gpu_halves_batches_that_do_not_fit(
    model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = open_backend(model, device="cuda")
    runner = backend._run  # type: ignore[attr-defined]
    fits = runner._run

    def small(batch: torch.Tensor) -> torch.Tensor:
        if len(batch) > 2:
            raise torch.cuda.OutOfMemoryError("too much")
        return fits(batch)

    monkeypatch.setattr(runner, "_run", small)
    images = np.random.default_rng(0).normal(0.5, 1.0, (7, 64, 64)).astype(np.float32)
    expected = as_trained(model, images)
    assert np.abs(backend(images) - expected).max() <= 1e-4 * np.ptp(expected)


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70))
def test_order_and_batch_do_not_matter(height: int, width: int) -> None:
    lite = load("lite")
    images = np.random.default_rng(0).normal(0.5, 0.2, (3, height, width)).astype(np.float32)
    for name in (name for name in BACKENDS if find_spec(name)):
        backend = open_backend(lite, backend=name, device="cpu")
        together = backend(images)
        alone = np.concatenate([backend(images[i : i + 1]) for i in (2, 1, 0)])[::-1]
        np.testing.assert_allclose(together, alone, atol=2e-6)
