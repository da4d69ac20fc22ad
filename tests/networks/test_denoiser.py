"""The network against the published one, and against the paper's description."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ctdenoise.models.files import load_model
from ctdenoise.networks import CLIPDenoiser, DenseEncoder
from tests.conftest import randomise
from tests.reference_network import published_forward, published_weights


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("width", "layers"), [(8, (1, 2, 1)), (64, (3, 4, 6))])
def test_published_checkpoint_gives_the_published_output(
    tmp_path: Path, width: int, layers: tuple[int, int, int], channels: int
) -> None:
    weights = published_weights(width, layers, channels)
    torch.save({"params": weights}, tmp_path / "net_g_latest.pth")
    model = load_model(tmp_path / "net_g_latest.pth")
    image = torch.rand(1, channels, 96, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        ours, theirs = model.network(image), published_forward(weights, image)
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.parametrize("kind", ["ct", "rgb"])
def test_reference_checkpoints(shared: Path, kind: str) -> None:
    model = load_model(shared / "fixtures" / f"reference_{kind}_wf8.pth")
    known = np.load(shared / "fixtures" / f"reference_{kind}_wf8_io.npz")
    with torch.inference_mode():
        output = model.network(torch.from_numpy(known["input"])).numpy()
    assert np.abs(output - known["output"]).max() <= 1e-5 * np.abs(known["output"]).max()


def test_rn50_has_the_papers_features() -> None:
    features = DenseEncoder()(torch.rand(1, 3, 64, 96))
    shapes = [tuple(feature.shape[1:]) for feature in features]
    assert shapes == [(64, 32, 48), (256, 16, 24), (512, 8, 12), (1024, 4, 6)]


def test_unused_stages_are_not_there() -> None:
    names = CLIPDenoiser(width=8, layers=(1, 1, 1)).state_dict()
    assert not [name for name in names if "layer4" in name or "attnpool" in name]


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("size", [(32, 32), (64, 48), (16, 160)])
def test_output_has_the_shape_of_the_input(in_channels: int, size: tuple[int, int]) -> None:
    network = CLIPDenoiser(in_channels=in_channels, width=8, layers=(1, 1, 1))
    image = torch.rand(2, in_channels, *size)
    assert network(image).shape == image.shape


def test_encoder_stays_frozen_and_in_eval_mode_through_a_training_step() -> None:
    network = randomise(CLIPDenoiser(width=8, layers=(1, 1, 1)))
    network.train()
    before = {name: value.clone() for name, value in network.encoder.state_dict().items()}
    first = network.first.weight.clone()
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network(torch.rand(2, 1, 32, 32)).square().mean().backward()
    optimizer.step()
    after = network.encoder.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not network.encoder.training
    assert network.decoder.training
    assert not torch.equal(network.first.weight, first), "the channel adapter learns"


def test_augmentation_is_progressive_and_in_training_only() -> None:
    network = CLIPDenoiser(width=8, layers=(1, 1, 1), alpha=0.1)
    features = [torch.ones(1, 1, 200, 200) for _ in range(4)]
    torch.manual_seed(0)
    augmented = network.train().augment(features)
    spread = [feature.std().item() for feature in augmented]
    np.testing.assert_allclose(spread, [0.1, 0.2, 0.3, 0.4], rtol=0.03)
    np.testing.assert_allclose([f.mean().item() for f in augmented], 1.0, atol=0.01)
    assert all(
        torch.equal(a, b) for a, b in zip(network.eval().augment(features), features, strict=True)
    )


def test_residual_subtracts_the_output() -> None:
    torch.manual_seed(0)
    plain = CLIPDenoiser(width=8, layers=(1, 1, 1)).eval()
    residual = CLIPDenoiser(width=8, layers=(1, 1, 1), residual=True).eval()
    residual.load_state_dict(plain.state_dict())
    image = torch.rand(1, 1, 32, 32)
    torch.testing.assert_close(residual(image), image - plain(image))


def test_network_can_be_scripted() -> None:
    network = CLIPDenoiser(width=8, layers=(1, 1, 1)).eval()
    image = torch.rand(1, 1, 32, 32)
    torch.testing.assert_close(torch.jit.script(network)(image), network(image))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"spatial_dims": 3}, "two-dimensional"),
        ({"in_channels": 2}, "1 or 3"),
        ({"layers": (3, 4, 6, 3)}, "three stages"),
        ({"decoder_widths": (8, 8)}, "five blocks"),
        ({"residual": True, "in_channels": 1, "out_channels": 3}, "as many channels"),
    ],
)
def test_impossible_networks_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CLIPDenoiser(width=8, **({"layers": (1, 1, 1)} | arguments))
