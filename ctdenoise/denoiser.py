"""HU slices in, denoised HU slices out: a model loaded once."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from ctdenoise.backends import Device, Precision, open_backend
from ctdenoise.hounsfield import HU, SOFT_TISSUE, HUWindow, Mask
from ctdenoise.level import Level, Seen
from ctdenoise.measured_noise import MeasuredNoise
from ctdenoise.models.card import ModelCard
from ctdenoise.models.files import LoadedModel

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
        local=card.local_level and noise is not None and window is None,
    )


class Denoiser:
    """A model on a backend.

    Args:
        model: the loaded model.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; ``auto`` takes a GPU if there is one.
        precision: number format of the convolutions.
        batch_size: slices that go through the network at once; None leaves it to the backend.
        backend: ``torch``, ``openvino``, or ``auto``, the fastest that is installed.
        threads: of the CPU; None leaves it to the backend.

    Raises:
        CTDenoiseError: the backend or the device is not there, or cannot do the precision.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        device: str = "auto",
        precision: Precision = "fp32",
        batch_size: int | None = None,
        backend: str = "auto",
        threads: int | None = None,
    ) -> None:
        self.card = model.card
        self.digest = model.digest
        self.precision: Precision = precision
        self._backend = open_backend(
            model, backend=backend, device=device, precision=precision, threads=threads
        )
        self.batch_size = batch_size or self._backend.batch_size
        self._threads = threads or os.cpu_count() or 1

    @property
    def device(self) -> Device:
        """Where the network is computed."""
        return self._backend.device

    @property
    def backend(self) -> str:
        """What computes it: ``torch`` or ``openvino``."""
        return self._backend.name

    @property
    def spare_threads(self) -> int:
        """Threads of the CPU that have time for other things while the network computes."""
        return 1 if self.device.type == "cpu" else self._threads

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
        return level.from_network(hu, padding, seen, self.infer_all(seen, level), strength)

    def infer_all(self, seen: Seen, level: Level) -> NDArray[np.float32]:
        """What the network makes of what ``level`` shows it, in batches, of the same shape."""
        size = self.batch_size * level.stride**2
        parts = range(0, len(seen.images), size)
        return np.concatenate([self.infer(seen.images[i : i + size]) for i in parts])

    def infer(self, seen: NDArray[np.float32]) -> NDArray[np.float32]:
        """Images (N, H, W) in the network's range, such as photographs in [0, 1], denoised."""
        return self._backend(np.ascontiguousarray(seen))
