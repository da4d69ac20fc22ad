"""Slices of any size to the network and back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctdenoise.inferer import WholeSliceInferer


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 130), width=st.integers(1, 130), stride=st.sampled_from([1, 2]))
def test_a_network_that_changes_nothing_changes_nothing(
    height: int, width: int, stride: int
) -> None:
    slices = torch.rand(1, 2, height, width)
    assert torch.equal(WholeSliceInferer(stride)(slices, lambda x: x), slices)


@pytest.mark.parametrize(("stride", "expected"), [(1, (1, 1, 64, 96)), (2, (4, 1, 32, 64))])
def test_network_sees_multiples_of_32(stride: int, expected: tuple[int, ...]) -> None:
    seen = []

    def network(x: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(x.shape))
        return x

    WholeSliceInferer(stride)(torch.rand(1, 1, 60, 90), network)
    assert seen == [expected]


def test_stride_shows_every_second_pixel() -> None:
    image = torch.arange(64.0 * 64).reshape(1, 1, 64, 64)

    def first_only(x: torch.Tensor) -> torch.Tensor:
        assert torch.equal(x[1, 0], image[0, 0, ::2, 1::2])
        return x

    WholeSliceInferer(2)(image, first_only)
