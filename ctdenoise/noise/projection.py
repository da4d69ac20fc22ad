"""Parallel-beam projection and filtered back projection, at one detector a pixel.

Source: Kak, Slaney, "Principles of Computerized Tomographic Imaging", chapter 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch.nn import functional as F

KERNELS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = MappingProxyType(
    {
        "ramp": torch.ones_like,
        "shepp-logan": torch.sinc,
        "cosine": lambda f: torch.cos(math.pi * f),
        "hamming": lambda f: 0.54 + 0.46 * torch.cos(2.0 * math.pi * f),
        "hann": lambda f: 0.5 + 0.5 * torch.cos(2.0 * math.pi * f),
    }
)
"""Apodisation of the ramp filter by frequency in cycles a pixel, from sharp to smooth."""

_COARSE_PIXEL = 2
_COARSE_VIEWS = 4

_SAMPLES = 2**21
"""Samples taken at once: few enough to stay near the processor, and so many that threads, which
wait for one another after every operation, do not do so too often on a busy machine."""


def detectors(shape: tuple[int, int]) -> int:
    """Detectors that cover the image's diagonal."""
    return math.ceil(math.hypot(*shape)) + 2


def project(image: torch.Tensor, views: int) -> torch.Tensor:
    """Line integrals (views, D) of ``image`` (H, W), in pixels times its unit.

    They are sampled at every second pixel and every fourth view, and interpolated: what is
    wanted of them is how many photons arrive, not an image.
    """
    height, width = image.shape
    size = detectors((height, width))
    coarse = F.avg_pool2d(
        image.float()[None, None], _COARSE_PIXEL, ceil_mode=True, count_include_pad=False
    )
    extent = math.ceil(size / _COARSE_PIXEL)
    along = _centred(extent) * _COARSE_PIXEL
    angles = torch.arange(0, views, _COARSE_VIEWS) * (math.pi / views)
    parts = []
    for some in torch.split(angles.double(), math.ceil(_SAMPLES / extent**2)):
        cos, sin = torch.cos(some).float()[:, None, None], torch.sin(some).float()[:, None, None]
        x = (2.0 / width * cos) * along - (2.0 / width * sin) * along[:, None]
        y = (2.0 / height * sin) * along + (2.0 / height * cos) * along[:, None]
        turned = F.grid_sample(
            coarse.expand(len(some), -1, -1, -1), torch.stack([x, y], dim=-1), align_corners=False
        )
        parts.append(turned[:, 0].sum(1) * _COARSE_PIXEL)
    parts.append(parts[0][:1].flip(1))  # after half a turn the rays come from the other side
    rows = torch.cat(parts)
    count = (len(rows) - 1) * _COARSE_VIEWS + 1
    fine = F.interpolate(
        rows[None, None], size=(count, extent), mode="bilinear", align_corners=True
    )
    fine = F.interpolate(
        fine[..., :views, :], size=(views, extent * _COARSE_PIXEL), mode="bilinear"
    )
    return torch.clamp(fine[0, 0, :, :size], min=0.0)


def filter_views(sinogram: torch.Tensor, kernel: str) -> torch.Tensor:
    """Ramp-filter each row of ``sinogram`` (views, D), with the kernel's apodisation.

    The ramp is the transform of its band-limited form in space, so that its mean is right.
    """
    size = sinogram.shape[-1]
    length = 2 ** math.ceil(math.log2(2 * size))
    n = torch.fft.fftfreq(length, 1.0 / length)
    ramp = torch.where(n % 2 == 1, -1.0 / (math.pi * n.clamp(min=1e-9).maximum(-n)) ** 2, 0.0)
    ramp[0] = 0.25
    response = torch.fft.rfft(ramp).real * KERNELS[kernel](torch.fft.rfftfreq(length))
    filtered: torch.Tensor = torch.fft.irfft(torch.fft.rfft(sinogram, length) * response, length)
    return filtered[:, :size]


def backproject(views: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """Back projection (H, W) of filtered views (V, D), linear between detectors.

    In a square image the views at a, pi - a, pi/2 + a and pi/2 - a meet the same detectors, each
    from an image flipped or turned, and so they do from the other side, for opposite pixels. Where
    a ray ends is then computed once for eight. Other shapes, and odd numbers of views, go without.

    Args:
        views: over half a turn, of ``detectors(shape)`` detectors each.
        shape: of the image.
    """
    height, width = shape
    count = len(views)
    step = math.pi / count
    angles = torch.arange(count, dtype=torch.float64) * step
    x, y = _centred(width), _centred(height)
    if height != width or count % 2:
        return _sum_views(views[None], angles, x, y)[0] * step
    first = torch.arange(count // 4 + 1)
    alike = torch.stack([first, count - first, count // 2 + first, count // 2 - first])
    weight = torch.where(4 * first % count == 0, 0.5, 1.0)  # at 0 and pi/4 each view comes twice
    half_turn = torch.cat([views, views[:1].flip(1)])
    four = half_turn[alike] * weight[:, None]
    eight = torch.cat([four, four.flip(2)])
    upper = _sum_views(eight, angles[first], x, y[: (height + 1) // 2])
    lower = upper[4:, : height // 2].flip(1, 2)
    image = torch.cat([upper[:4], lower], dim=1)
    return (image[0] + image[1].flip(1) + image[2].flip(0).T + image[3].T) * step


def _sum_views(
    views: torch.Tensor, angles: torch.Tensor, x: torch.Tensor, y: torch.Tensor
) -> torch.Tensor:
    """Sum (C, H, W) over V of views (C, V, D) at ``angles`` (V), at columns x (W), rows y (H)."""
    channels, count, size = views.shape
    values = views.flatten(1).T.contiguous()
    steps = F.pad(torch.diff(views, dim=2), (0, 1)).flatten(1).T.contiguous()
    start = torch.arange(count, dtype=torch.int32) * size
    across = x[:, None] * torch.cos(angles).float()
    down = y[:, None] * torch.sin(angles).float() + (size - 1) / 2
    parts = []
    for some in torch.split(down, math.ceil(_SAMPLES / across.numel())):
        at = (across + some[:, None]).flatten(0, 1)
        below = at.int()
        fraction = at - below
        below += start
        # A bag is a pixel: the rows that it meets in the table, one a view, are summed in place.
        parts.append(
            F.embedding_bag(below, values, mode="sum")
            + F.embedding_bag(below, steps, mode="sum", per_sample_weights=fraction)
        )
    return torch.cat(parts).T.reshape(channels, len(y), len(x))


def _centred(count: int) -> torch.Tensor:
    """Places (count) of pixels or detectors, from their middle."""
    return torch.arange(count) - (count - 1) / 2
