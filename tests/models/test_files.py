"""Weights in every form they come in, and files that are no weights."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from open_clip.modified_resnet import ModifiedResNet
from safetensors.torch import save_file
from torch import nn

from ctdenoise.errors import CTDenoiseError
from ctdenoise.models import registry
from ctdenoise.models.files import digest, load_model
from ctdenoise.models.naming import encoder_tensors
from ctdenoise.models.registry import load, summaries
from ctdenoise.models.tensors import as_arrays, read_tensors
from tests.conftest import randomise
from tests.reference_network import published_weights


@pytest.fixture(scope="module")
def rn50() -> nn.Module:
    """CLIP's image encoder at its full shape, with random weights."""
    torch.manual_seed(0)
    return randomise(
        ModifiedResNet([3, 4, 6, 3], output_dim=1024, heads=32, image_size=224, width=64)
    ).eval()


@pytest.fixture(scope="module")
def decoder_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("decoder") / "decoder.pth"
    torch.save({"params": published_weights(64, (3, 4, 6), 1)}, path)
    return path


def _as_visual(encoder: nn.Module) -> dict[str, torch.Tensor]:
    return {f"visual.{name}": tensor for name, tensor in encoder.state_dict().items()}


def _as_openai_archive(encoder: nn.Module, path: Path) -> None:
    """A TorchScript archive in half precision, as OpenAI publishes."""

    class CLIP(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.visual = encoder

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.visual.stem(image)

    traced = torch.jit.trace(CLIP().eval(), torch.rand(1, 3, 224, 224))
    torch.jit.save(traced, path)


def _write(form: str, encoder: nn.Module, path: Path) -> None:
    if form == "openai archive":
        _as_openai_archive(encoder, path)
    elif form == "open_clip state dict":
        torch.save(_as_visual(encoder), path)
    elif form == "training checkpoint":
        torch.save(
            {"epoch": 1, "state_dict": {f"module.{k}": v for k, v in _as_visual(encoder).items()}},
            path,
        )
    elif form == "safetensors":
        save_file(_as_visual(encoder), path)
    elif form == "bare encoder":
        torch.save(encoder.state_dict(), path)
    elif form == "timm":
        import timm

        model = timm.create_model("resnet50_clip.openai", pretrained=False)
        from timm.models.byobnet import checkpoint_filter_fn

        torch.save(checkpoint_filter_fn(_as_visual(encoder), model), path)


@pytest.mark.parametrize(
    "form",
    [
        "openai archive",
        "open_clip state dict",
        "training checkpoint",
        "safetensors",
        "bare encoder",
        "timm",
    ],
)
def test_clip_weights_of_every_form(
    tmp_path: Path, rn50: nn.Module, decoder_file: Path, form: str
) -> None:
    path = tmp_path / "clip.weights"
    _write(form, rn50, path)
    model = load("clip-rn50", clip_weights=str(path), decoder=decoder_file)
    expected = encoder_tensors(as_arrays(_as_visual(rn50)))
    loaded = model.network.encoder.state_dict()
    assert loaded.keys() == expected.keys()
    assert all(np.array_equal(loaded[name].numpy(), expected[name]) for name in expected)


def test_open_clip_loads_the_same_tensors(tmp_path: Path, rn50: nn.Module) -> None:
    """An independent reader of the same file: open_clip itself."""
    clip = open_clip.create_model("RN50")
    randomise(clip.visual)
    torch.save(clip.state_dict(), tmp_path / "clip.pt")
    ours = encoder_tensors(read_tensors(tmp_path / "clip.pt")[0])
    theirs = open_clip.create_model("RN50", pretrained=str(tmp_path / "clip.pt")).visual
    theirs = theirs.state_dict()
    assert all(np.array_equal(ours[name], theirs[name].numpy()) for name in ours)


def test_half_precision_weights_become_single(tmp_path: Path) -> None:
    weights = published_weights(8, (1, 1, 1), 1)
    encoder = {
        name.removeprefix("encoder."): tensor.half() if tensor.is_floating_point() else tensor
        for name, tensor in weights.items()
        if name.startswith("encoder.")
    }
    found = encoder_tensors(as_arrays(encoder))
    assert all(array.dtype in (np.float32, np.int64) for array in found.values())


def test_clip_weights_are_never_fetched_unasked(decoder_file: Path) -> None:
    with pytest.raises(CTDenoiseError, match="needs --clip-weights"):
        load("clip-rn50", decoder=decoder_file)
    with pytest.raises(CTDenoiseError, match="no such weights file"):
        load("clip-rn50", clip_weights="somebody", decoder=decoder_file)


def test_download_goes_through_open_clip_and_only_by_name(
    monkeypatch: pytest.MonkeyPatch, decoder_file: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = []

    def no_network(config: dict, *_: object, **__: object) -> str:
        asked.append(config)
        raise OSError("no network")

    monkeypatch.setattr("open_clip.pretrained.download_pretrained", no_network)
    with pytest.raises(CTDenoiseError, match="download failed"):
        load("clip-rn50", clip_weights="openai", decoder=decoder_file)
    assert len(asked) == 1


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("writer", ["torch", "pickle", "pickle without zip"])
def test_code_in_a_checkpoint_is_never_run(tmp_path: Path, writer: str) -> None:
    trap, path = tmp_path / "trap", tmp_path / "evil.pth"
    content = {"params": {"first.weight": Malicious(trap)}}
    if writer == "torch":
        torch.save(content, path)
    elif writer == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=False)
    with pytest.raises(CTDenoiseError, match=r"evil\.pth: "):
        load_model(path)
    assert not trap.exists()


class WritesWhenLoaded(nn.Module):
    """TorchScript runs ``__setstate__`` while it loads, and TorchScript can write files."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.training = False

    @torch.jit.export
    def __getstate__(self):  # type: ignore[no-untyped-def]
        return (self.weight, self.training)

    @torch.jit.export
    def __setstate__(self, state: tuple[torch.Tensor, bool]):  # type: ignore[no-untyped-def]
        self.weight = state[0]
        self.training = state[1]
        torch.save(state[0], "written_by_torchscript")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_code_in_a_torchscript_archive_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.jit.save(torch.jit.script(WritesWhenLoaded()), "evil.pt")
    with pytest.raises(CTDenoiseError):
        load_model(Path("evil.pt"))
    assert not Path("written_by_torchscript").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"not weights at all", b"PK\x03\x04 broken zip", b"\x80\x02}q\x00.", b"\0" * 64],
)
def test_files_that_are_no_weights_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "junk.pth"
    path.write_bytes(content)
    with pytest.raises(CTDenoiseError, match=r"junk\.pth: "):
        load_model(path)


def test_truncated_safetensors_is_refused(tmp_path: Path, small_model: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes(small_model.read_bytes()[:5000])
    with pytest.raises(CTDenoiseError, match="damaged safetensors"):
        load_model(path)


def test_another_architecture_is_refused_with_what_differs(tmp_path: Path) -> None:
    weights = published_weights(8, (1, 1, 1), 1)
    weights["up_path.2.conv_block.block.0.weight"] = torch.zeros(16, 60, 3, 3)
    del weights["up_path.3.conv_block.block.2.weight"]
    weights["extra.weight"] = torch.zeros(1)
    torch.save({"params": weights}, tmp_path / "other.pth")
    with pytest.raises(CTDenoiseError) as error:
        load_model(tmp_path / "other.pth")
    message = str(error.value)
    assert "decoder.blocks.2.2.weight is missing" in message
    assert "extra.weight is unknown" in message
    assert "(16, 60, 3, 3), not (16, 64, 3, 3)" in message


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "linear.pth")
    with pytest.raises(CTDenoiseError, match="it has no encoder; name one with --clip-weights"):
        load_model(tmp_path / "linear.pth")


def test_digest_depends_on_the_weights_alone(tmp_path: Path) -> None:
    weights = published_weights(8, (1, 1, 1), 1)
    torch.save({"params": weights}, tmp_path / "a.pth")
    save_file(weights, tmp_path / "b.safetensors")
    first, second = load_model(tmp_path / "a.pth"), load_model(tmp_path / "b.safetensors")
    assert first.digest == second.digest == digest(first.network.state_dict())
    with torch.no_grad():
        first.network.decoder.last.weight[0, 0, 0, 0] += 1e-3
    assert digest(first.network.state_dict()) != second.digest


def test_embedded_weights_that_are_damaged_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bit, in the weights or in the card, or a file without its digest."""
    whole = registry.embedded_path("lite").read_bytes()
    sums = registry.embedded_path("lite").with_name("SHA256SUMS").read_text()
    path = tmp_path / "lite.safetensors"
    monkeypatch.setattr(registry, "embedded_path", lambda name: path)
    for place in (200, len(whole) // 2, len(whole) - 1):
        (tmp_path / "SHA256SUMS").write_text(sums)
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(CTDenoiseError, match="lite: the embedded weights are damaged"):
            load("lite")
    path.write_bytes(whole)
    assert load("lite").card.name == "lite"
    (tmp_path / "SHA256SUMS").unlink()
    with pytest.raises(CTDenoiseError, match="lite: the embedded weights are damaged"):
        load("lite")


def test_unknown_model_names_the_known_ones() -> None:
    with pytest.raises(CTDenoiseError, match="models are lite, clip-rn50"):
        load("heavy")


def test_every_named_model_is_summarised() -> None:
    assert [summary.name for summary in summaries()] == ["lite", "clip-rn50"]
