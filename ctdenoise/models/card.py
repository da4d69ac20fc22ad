"""What a model file says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Facts that travel with the weights, in the header of the safetensors file.

    Attributes:
        name: short name of the model.
        description: what it is, and what it is not.
        licence: licence of the weights.
        encoder: where the frozen encoder comes from.
        training_data: what it was trained on.
        training_noise: the noise that it was trained on.
        matched_sigma: standard deviation, as a fraction of the network's unit range, that the
            noise of a CT series should have when it meets the network.
        unit_window: window of HU that the network's unit range stands for where the noise of
            a series cannot be measured.
        bounded: the network was trained on images within [0, 1] only, so that HU beyond the
            window do not go in.
        preserved_scale: in pixels, see :class:`ctdenoise.level.Level`.
        removal_limit: see there as well.
        stride: see there too; used where the noise of a series is correlated.
        correlated_above: correlation of neighbouring pixels from which on it is.
        local_level: HU meet the network at the noise of the place, see there too.
        residual: the network predicts the noise.
        training: further facts of the training: seed, iterations, configuration.
    """

    name: str
    description: str
    licence: str
    encoder: str
    training_data: str
    training_noise: str
    matched_sigma: float
    unit_window: tuple[float, float] = (-1024.0, 3072.0)
    bounded: bool = True
    preserved_scale: float = 0.0
    removal_limit: float = 0.0
    stride: int = 1
    correlated_above: float = 0.4
    local_level: bool = False
    residual: bool = False
    training: Mapping[str, Any] | None = None

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ModelCard:
        """Read a card.

        Raises:
            ValueError: the text is not JSON, or lacks a field, or has one that is unknown.
        """
        values = json.loads(text)
        known = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or not set(values) <= known:
            raise ValueError("not a ctdenoise model card")
        try:
            if "unit_window" in values:
                lower, upper = values["unit_window"]
                values["unit_window"] = (float(lower), float(upper))
            values["matched_sigma"] = float(values["matched_sigma"])
            card = cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"incomplete model card: {error}") from None
        if not (card.matched_sigma > 0 and card.unit_window[0] < card.unit_window[1]):
            raise ValueError("model card without a usable matched_sigma or unit_window")
        return card
