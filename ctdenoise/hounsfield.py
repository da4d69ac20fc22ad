"""Hounsfield units: windows, tissue classes, and the level a network works at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter, median_filter, uniform_filter

from ctdenoise.errors import CTDenoiseError

HU = NDArray[np.float64]
Mask = NDArray[np.bool_]

AIR = -1000.0
SOFT_TISSUE = 40.0

TISSUE_CLASSES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "air": (-np.inf, -950.0),
        "lung": (-950.0, -500.0),
        "fat_and_soft_tissue": (-150.0, 150.0),
        "bone": (200.0, np.inf),
    }
)
"""Range of the local mean in HU that stands for a tissue."""


@dataclass(frozen=True)
class HUWindow:
    """A range of HU and its map to [0, 1].

    The map is affine and not clipped, so that it can be undone for any HU.

    Raises:
        ValueError: the bounds are not finite or not in order.
    """

    lower: float
    upper: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.lower) and np.isfinite(self.upper) and self.lower < self.upper):
            raise ValueError(f"a window needs LOWER < UPPER in HU, got {self.lower},{self.upper}")

    @property
    def width(self) -> float:
        return self.upper - self.lower

    @property
    def centre(self) -> float:
        return 0.5 * (self.lower + self.upper)

    def to_unit(self, hu: HU) -> HU:
        """HU to [0, 1]; HU outside the window go below 0 or above 1."""
        return (hu - self.lower) / self.width

    def from_unit(self, unit: HU) -> HU:
        """The inverse of :meth:`to_unit`."""
        return unit * self.width + self.lower

    def inside(self, hu: HU) -> HU:
        """Weight of each pixel: 1 well inside, falling smoothly to 0 at the edges."""
        edge = 0.05 * self.width
        distance = np.minimum(hu - self.lower, self.upper - hu)
        ramp = np.clip(distance / edge, 0.0, 1.0)
        return ramp * ramp * (3.0 - 2.0 * ramp)


@dataclass(frozen=True)
class Level:
    """How HU meet a network, and how what it changed comes back.

    ``window`` says which HU take part. ``unit_width`` HU make one unit of the network's
    range, and ``centre`` HU is its 0.5. A network that was trained on images within [0, 1]
    has a unit as wide as the window; one that was trained beyond it can take a wide window
    at a narrow unit, so that noise is as large as it knows and no tissue is left out.

    ``preserved_scale`` is in pixels. What the network changed over wider distances (a Gaussian
    mean of this standard deviation) is given back: the noise of filtered back projection has
    little power there, and faint wide lesions and the mean HU of a region have all theirs.
    0 takes the network's word.

    ``removal_limit`` bounds what may be taken away at a place: where the change has more than
    that many times the local power that it typically has around there, it is scaled down to
    that. Noise is spread evenly; a vessel that was taken for noise stands out. 0 sets no bound.

    A ``stride`` of 2 shows the network every second pixel of every second row, as four images,
    and puts its results together again. Noise of CT is correlated between neighbours, which a
    network that knows white noise takes for texture; between every second pixel it hardly is.

    Source: of the stride: Zhou et al., "When AWGN-based Denoiser Meets Real Noises", AAAI 2020.
    """

    window: HUWindow
    unit_width: float
    centre: float
    preserved_scale: float = 0.0
    removal_limit: float = 0.0
    stride: int = 1

    def to_network(self, hu: HU, padding: Mask) -> NDArray[np.float32]:
        """HU (N, H, W) to the network's range, (N * stride^2, H / stride, W / stride).

        Sizes are rounded up; padding goes in as air.
        """
        taking_part = np.clip(np.where(padding, AIR, hu), self.window.lower, self.window.upper)
        unit = (taking_part - self.centre) / self.unit_width + 0.5
        return _split(np.asarray(unit, dtype=np.float32), self.stride)

    def from_network(
        self,
        hu: HU,
        padding: Mask,
        seen: NDArray[np.float32],
        denoised: NDArray[np.float32],
        strength: float,
    ) -> HU:
        """HU (N, H, W) after denoising.

        What the network changed from ``seen``, of :meth:`to_network`, to ``denoised``, of the
        same shape, is added to ``hu``, times ``strength``, fading out at the edges of the
        window. Padding and HU outside the window come back as they were.

        Raises:
            CTDenoiseError: ``denoised`` holds something that is no number.
        """
        if not np.isfinite(denoised).all():
            raise CTDenoiseError("the network's result is not finite; try --precision fp32")
        change = (denoised.astype(np.float64) - seen) * self.unit_width
        change = _join(change, self.stride)[:, : hu.shape[1], : hu.shape[2]]
        change = self._without_wide(change)
        if self.removal_limit > 0:
            change = np.stack([c * _share_within(c, self.removal_limit) for c in change])
            # What is left of it after that need not have the mean that it had.
            change = self._without_wide(change)
        weight = np.where(padding, 0.0, strength * self.window.inside(hu))
        return hu + weight * change

    def _without_wide(self, change: HU) -> HU:
        if self.preserved_scale == 0:
            return change
        scale = (0.0, self.preserved_scale, self.preserved_scale)
        return np.asarray(change - gaussian_filter(change, scale, mode="nearest"))


def tissue_masks(hu: HU, padding: Mask) -> dict[str, Mask]:
    """Pixels (H, W) of each class of :data:`TISSUE_CLASSES`, told by the local mean.

    A single noisy value would not do: pixels chosen for a high value are high by noise as
    well, and any denoiser would seem to bias them.
    """
    mean = uniform_filter(np.where(padding, AIR, hu), 5, mode="nearest")
    return {
        name: (mean >= lower) & (mean < upper) & ~padding
        for name, (lower, upper) in TISSUE_CLASSES.items()
    }


def _split(slices: NDArray[np.float32], stride: int) -> NDArray[np.float32]:
    """Every ``stride``-th pixel of (N, H, W) from each of the stride^2 places to begin at."""
    n, height, width = slices.shape
    below, right = -height % stride, -width % stride
    whole = np.pad(slices, ((0, 0), (0, below), (0, right)), mode="edge")
    parts = whole.reshape(n, whole.shape[1] // stride, stride, whole.shape[2] // stride, stride)
    return np.ascontiguousarray(
        parts.transpose(0, 2, 4, 1, 3).reshape(-1, parts.shape[1], parts.shape[3])
    )


def _join(parts: HU, stride: int) -> HU:
    """The inverse of :func:`_split`, but for what that added to odd sizes."""
    _, height, width = parts.shape
    apart = parts.reshape(-1, stride, stride, height, width).transpose(0, 3, 1, 4, 2)
    return apart.reshape(len(apart), height * stride, width * stride)


def _share_within(change: HU, limit: float) -> HU:
    """By how much to scale a change (H, W) so that nowhere its power stands out."""
    power = gaussian_filter(change * change, 2.5, mode="nearest")
    # The median over about 36 x 36 pixels, of every fourth one: it is smooth already.
    coarse = median_filter(power[::4, ::4], size=9, mode="nearest")
    typical = affine_transform(
        coarse, (0.25, 0.25), output_shape=power.shape, order=1, mode="nearest"
    )
    return np.asarray(np.minimum(1.0, limit * typical / np.maximum(power, 1e-12)))
