"""HU slices in, denoised HU slices out: a model loaded once."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ctdenoise.errors import CTDenoiseError
from ctdenoise.hounsfield import HU, SOFT_TISSUE, HUWindow, Level, Mask
from ctdenoise.inferer import WholeSliceInferer
from ctdenoise.measured_noise import MeasuredNoise
from ctdenoise.models.card import ModelCard
from ctdenoise.models.files import LoadedModel

Precision = Literal["fp32", "bf16", "fp16"]
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

WHOLE_RANGE = HUWindow(-1500.0, 4500.0)
"""All HU that a scanner gives, far enough from the edges, where a window fades out."""

UNIT_WIDTHS = (32.0, 4096.0)
"""Narrowest and widest unit: below, the noise is too low to be told from texture."""


def match_level(
    card: ModelCard, noise: MeasuredNoise | None, window: HUWindow | None = None
) -> Level:
    """The level at which a series' noise is what the model was trained on.

    Args:
        card: the model's.
        noise: noise of the series; None where it could not be measured.
        window: HU that are to be the network's unit range, whatever the noise.

    Returns:
        For a model that knows images beyond [0, 1] only by their noise, all HU at a unit
        that makes the noise ``card.matched_sigma``; for a model of bounded range, a window of
        that width about soft tissue. Without a noise, the card's own window. At the card's
        stride, where the noise is correlated as much as the card says.
    """
    own = HUWindow(*card.unit_window)
    if noise is None:
        unit, centre = own.width, own.centre
    else:
        unit, centre = float(np.clip(noise.sigma / card.matched_sigma, *UNIT_WIDTHS)), SOFT_TISSUE
    if window is None and not card.bounded:
        taking_part = WHOLE_RANGE
    else:
        if window is None:
            window = own if unit >= own.width else HUWindow(centre - unit / 2, centre + unit / 2)
        taking_part, unit, centre = window, window.width, window.centre
    strided = noise is not None and noise.correlation > card.correlated_above
    return Level(
        window=taking_part,
        unit_width=unit,
        centre=centre,
        preserved_scale=card.preserved_scale,
        removal_limit=card.removal_limit,
        stride=card.stride if strided else 1,
    )


class Denoiser:
    """A model on a device.

    Args:
        model: the loaded model.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; ``auto`` takes a GPU if there is one.
        precision: number format of the convolutions.
        batch_size: slices that go through the network at once.

    Raises:
        CTDenoiseError: the device is not there, or cannot do the precision.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        device: str = "auto",
        precision: Precision = "fp32",
        batch_size: int = 1,
    ) -> None:
        self.device = choose_device(device)
        if precision == "fp16" and self.device.type == "cpu":
            raise CTDenoiseError("--precision fp16 needs a GPU; on a CPU use bf16 or fp32")
        if self.device.type == "cuda":
            # TF32 would make fp32 a format of ten bits.
            torch.backends.cudnn.allow_tf32 = precision != "fp32"
            torch.backends.cuda.matmul.allow_tf32 = precision != "fp32"
        self.card = model.card
        self.digest = model.digest
        self.precision: Precision = precision
        self.batch_size = batch_size
        self._network = model.network.to(self.device)
        self._inferer = WholeSliceInferer()

    def __call__(self, hu: HU, padding: Mask, level: Level, strength: float = 1.0) -> HU:
        """Denoise slices.

        Args:
            hu: slices (N, H, W) in HU.
            padding: pixels (N, H, W) that are no image; they come back as they are.
            level: from :func:`match_level`, or from a window.
            strength: 0 changes nothing, 1 is full; in between the result is blended in HU.

        Raises:
            CTDenoiseError: the network gave something that is no number.
        """
        seen = level.to_network(hu, padding)
        size = self.batch_size * level.stride**2
        denoised = np.concatenate(
            [self.infer(seen[i : i + size]) for i in range(0, len(seen), size)]
        )
        return level.from_network(hu, padding, seen, denoised, strength)

    def infer(self, seen: NDArray[np.float32]) -> NDArray[np.float32]:
        """Images (N, H, W) in the network's range, such as photographs in [0, 1], denoised."""
        with torch.inference_mode(), self._autocast():
            batch = torch.from_numpy(seen[:, None]).to(self.device)
            denoised = self._inferer(batch, self._network)
        return np.asarray(denoised[:, 0].float().cpu().numpy(), dtype=np.float32)

    def _autocast(self) -> AbstractContextManager[object]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=_DTYPES[self.precision])


def choose_device(name: str) -> torch.device:
    """The torch device of a name; ``auto`` is the first GPU, or the CPU.

    Raises:
        CTDenoiseError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise CTDenoiseError(f"--device {name}: use auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise CTDenoiseError(f"--device {name}: use auto, cpu, cuda or cuda:N")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise CTDenoiseError(f"--device {name}: no CUDA GPU here")
        if (device.index or 0) >= torch.cuda.device_count():
            raise CTDenoiseError(f"--device {name}: there are {torch.cuda.device_count()} GPUs")
    return device
