"""Slices of any size to the network and back."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ctdenoise.inferer import WholeSliceInferer


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 130), width=st.integers(1, 130))
def test_a_network_that_changes_nothing_changes_nothing(height: int, width: int) -> None:
    slices = torch.rand(1, 2, height, width)
    assert torch.equal(WholeSliceInferer()(slices, lambda x: x), slices)


def test_network_sees_multiples_of_32() -> None:
    seen = []

    def network(x: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(x.shape))
        return x

    WholeSliceInferer()(torch.rand(1, 1, 60, 90), network)
    assert seen == [(1, 1, 64, 96)]
