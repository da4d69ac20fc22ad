"""The loss that makes features of a place alike, whatever its noise."""

from __future__ import annotations

import numpy as np
import torch

from ctdenoise.training import DenseInfoNCE, prepare_views


def test_loss_is_low_for_equal_views_and_high_for_unrelated_ones() -> None:
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
