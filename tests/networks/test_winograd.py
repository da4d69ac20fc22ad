"""Convolutions in fewer multiplications give what PyTorch's own give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from ctdenoise.networks.winograd import Winograd, transforms

AXES = [(2,), (3,), (2, 3), (3, 2)]


def made(seed: int, *shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape)).float()


@given(st.integers(0, 2**31), st.integers(1, 13), st.integers(1, 13), st.sampled_from(AXES))
def test_a_convolution_of_any_size(
    seed: int, height: int, width: int, axes: tuple[int, ...]
) -> None:
    image, weight, bias = made(seed, 2, 5, height, width), made(seed, 3, 5, 3, 3), made(seed, 3)
    expected = F.conv2d(image.double(), weight.double(), bias.double(), padding=1)
    found = Winograd(weight, bias, axes=axes)(image)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 3e-5 * expected.abs().max().clamp(min=1.0)


def test_the_activation_comes_behind_the_bias() -> None:
    image, weight, bias = made(1, 1, 4, 8, 8), made(2, 6, 4, 3, 3), made(3, 6)
    found = Winograd(weight, bias, axes=(2,), activation=nn.LeakyReLU(0.2))(image)
    expected = F.leaky_relu(F.conv2d(image, weight, bias, padding=1), 0.2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_channels_last_stays_so() -> None:
    image = made(1, 1, 8, 16, 16).to(memory_format=torch.channels_last)
    found = Winograd(made(2, 8, 8, 3, 3), None, axes=(2, 3))(image)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_in_bfloat16_it_is_nearly_as_exact() -> None:
    image, weight = made(1, 1, 256, 32, 32).relu(), made(2, 32, 256, 3, 3) / 48
    expected = F.conv2d(image.double(), weight.double(), padding=1)
    with torch.inference_mode():
        direct = F.conv2d(image.bfloat16(), weight.bfloat16(), padding=1)
        found = Winograd(weight, None, axes=(2,)).bfloat16()(image.bfloat16())
    error, least = ((x.double() - expected).abs().mean() for x in (found, direct))
    assert error < 3 * least


def test_bfloat16_holds_the_transform_of_the_image() -> None:
    image, _, _ = transforms()
    held = torch.from_numpy(image).bfloat16().double().numpy()
    np.testing.assert_array_equal(held, image)


@pytest.mark.parametrize(("axes", "saved"), [((2,), 2.0), ((2, 3), 4.0)])
def test_multiplications_are_saved(axes: tuple[int, ...], saved: float) -> None:
    weight, image = made(1, 256, 256, 3, 3), torch.zeros(1, 256, 16, 16)

    def flop(conv: nn.Module) -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            conv(image)
        return int(counter.get_total_flops())

    direct = nn.Conv2d(256, 256, 3, padding=1)
    assert flop(direct) / flop(Winograd(weight, None, axes=axes)) == pytest.approx(saved, rel=0.15)
