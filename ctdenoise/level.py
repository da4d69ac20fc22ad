"""The level at which HU meet a network, and how what it changed comes back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctdenoise.errors import CTDenoiseError
from ctdenoise.hounsfield import AIR, HU, HUWindow, Mask
from ctdenoise.measured_noise import relative_noise
from ctdenoise.smooth import Map, gaussian_mean, local_median


@dataclass(frozen=True)
class Seen:
    """What a network is shown of slices.

    Attributes:
        images: in its range, (N * stride^2, H / stride, W / stride).
        unit: HU that are one of its units, at every pixel (N, H, W).
    """

    images: NDArray[np.float32]
    unit: NDArray[np.float32]


@dataclass(frozen=True)
class Level:
    """How HU meet a network, and how what it changed comes back.

    ``window`` says which HU take part. ``unit_width`` HU make one unit of the network's
    range, and ``centre`` HU is its 0.5. A network that was trained on images within [0, 1]
    has a unit as wide as the window; one that was trained beyond it can take a wide window
    at a narrow unit, so that noise is as large as it knows and no tissue is left out.

    ``local`` makes the unit wider where the noise of the slice is stronger, and narrower where it
    is weaker: the same network then sees the same noise everywhere.

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
    local: bool = False

    def to_network(self, hu: HU, padding: Mask) -> Seen:
        """HU (N, H, W) in the network's range.

        Sizes are rounded up; padding goes in as air.
        """
        unit = np.full(hu.shape, self.unit_width, dtype=np.float32)
        if self.local:
            for one, *slices in zip(unit, hu, padding, strict=True):
                relative = relative_noise(*slices)
                if relative is not None:
                    one *= relative
        taking_part = np.clip(np.where(padding, AIR, hu), self.window.lower, self.window.upper)
        images = (taking_part - self.centre).astype(np.float32) / unit + np.float32(0.5)
        return Seen(_split(images, self.stride), unit)

    def from_network(
        self,
        hu: HU,
        padding: Mask,
        seen: Seen,
        denoised: NDArray[np.float32],
        strength: float,
    ) -> HU:
        """HU (N, H, W) after denoising.

        What the network changed from ``seen``, of :meth:`to_network`, to ``denoised``, of the
        shape of its images, is added to ``hu``, times ``strength``, fading out at the edges of the
        window. Padding and HU outside the window come back as they were.

        Raises:
            CTDenoiseError: ``denoised`` holds something that is no number.
        """
        if not np.isfinite(denoised).all():
            raise CTDenoiseError("the network's result is not finite; try --precision fp32")
        changes = _join(denoised - seen.images, self.stride)[:, : hu.shape[1], : hu.shape[2]]
        result = hu.copy()
        for one, change, unit, out in zip(result, changes, seen.unit, padding, strict=True):
            weight = np.where(out, 0.0, strength * self.window.inside(one))
            one += weight * self._taken(change, unit)
        return result

    def _taken(self, change: Map, unit: Map) -> Map:
        """What of a change (H, W) in the network's units is made, in HU."""
        if self.removal_limit > 0:
            change = self._without_wide(change)
            # What is left of it after the bound need not have the mean that it had.
            change = change * _share_within(change, self.removal_limit)
        return self._without_wide(change * unit)

    def _without_wide(self, change: Map) -> Map:
        if self.preserved_scale == 0:
            return change
        return change - gaussian_mean(change, self.preserved_scale)


def _split(slices: NDArray[np.float32], stride: int) -> NDArray[np.float32]:
    """Every ``stride``-th pixel of (N, H, W) from each of the stride^2 places to begin at."""
    if stride == 1:
        return slices
    n, height, width = slices.shape
    below, right = -height % stride, -width % stride
    whole = np.pad(slices, ((0, 0), (0, below), (0, right)), mode="edge")
    parts = whole.reshape(n, whole.shape[1] // stride, stride, whole.shape[2] // stride, stride)
    return np.ascontiguousarray(
        parts.transpose(0, 2, 4, 1, 3).reshape(-1, parts.shape[1], parts.shape[3])
    )


def _join(parts: NDArray[np.float32], stride: int) -> NDArray[np.float32]:
    """The inverse of :func:`_split`, but for what that added to odd sizes."""
    if stride == 1:
        return parts
    _, height, width = parts.shape
    apart = parts.reshape(-1, stride, stride, height, width).transpose(0, 3, 1, 4, 2)
    return apart.reshape(len(apart), height * stride, width * stride)


def _share_within(change: Map, limit: float) -> Map:
    """By how much to scale a change (H, W) so that nowhere its power stands out."""
    power = gaussian_mean(change * change, 2.5)
    typical = local_median(power, step=8, size=5)
    return np.asarray(np.clip(limit * typical / np.maximum(power, 1e-12), 0.0, 1.0))
