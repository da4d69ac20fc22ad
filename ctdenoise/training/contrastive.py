"""Contrastive pre-training of a dense encoder: the same place, clean and distorted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F


def prepare_views(
    batch: Mapping[str, torch.Tensor],
    device: str | torch.device | None = None,
    non_blocking: bool = False,
    **_: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Clean and distorted patches (B, 1, H, W) as one batch (2B, 3, H, W) for the encoder.

    The second result is what MONAI's trainer calls the label; the loss here needs none.
    """
    views = torch.cat([batch["label"], batch["image"]]).to(device, non_blocking=non_blocking)
    return views.expand(-1, 3, -1, -1), views


class DenseInfoNCE(nn.Module):
    """InfoNCE between features of a place in the clean and in the distorted view.

    At every stage, ``positions`` places are drawn from the whole batch. The positive of a
    place is itself in the other view, its negatives are the other places.

    Args:
        positions: places drawn at each stage.
        temperature: of the softmax over cosine similarities.

    Source: van den Oord et al., "Representation Learning with Contrastive Predictive Coding",
    2018; applied densely.
    """

    def __init__(self, *, positions: int = 256, temperature: float = 0.1) -> None:
        super().__init__()
        self.positions = positions
        self.temperature = temperature

    def forward(self, features: Sequence[torch.Tensor], views: torch.Tensor) -> torch.Tensor:
        """Mean loss over the stages; each feature is (2B, C, h, w), clean half first."""
        return torch.stack([self._stage_loss(feature) for feature in features]).mean()

    def _stage_loss(self, feature: torch.Tensor) -> torch.Tensor:
        clean, distorted = feature.permute(0, 2, 3, 1).flatten(1, 2).chunk(2)
        clean, distorted = clean.flatten(0, 1), distorted.flatten(0, 1)
        place = torch.randperm(len(clean), device=clean.device)[: self.positions]
        clean, distorted = F.normalize(clean[place]), F.normalize(distorted[place])
        logits = clean @ distorted.T / self.temperature
        target = torch.arange(len(logits), device=logits.device)
        return 0.5 * (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target))
