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
    along = (torch.arange(extent) - (extent - 1) / 2) * _COARSE_PIXEL
    across, ray = torch.meshgrid(along, along, indexing="xy")
    angles = torch.arange(0, views, _COARSE_VIEWS) * (math.pi / views)
    rows = []
    for angle in angles.tolist():
        x = across * math.cos(angle) - ray * math.sin(angle)
        y = across * math.sin(angle) + ray * math.cos(angle)
        grid = torch.stack([2.0 * x / width, 2.0 * y / height], dim=-1)
        turned = F.grid_sample(coarse, grid[None], align_corners=False)
        rows.append(turned[0, 0].sum(0) * _COARSE_PIXEL)
    rows.append(rows[0].flip(0))  # after half a turn the rays come from the other side
    sinogram = torch.stack(rows)[None, None]
    count = (len(rows) - 1) * _COARSE_VIEWS + 1
    fine = F.interpolate(
        sinogram, size=(count, sinogram.shape[-1]), mode="bilinear", align_corners=True
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
    """Back projection (H, W) of filtered views (V, D), linear between detectors."""
    height, width = shape
    count, size = views.shape
    y = torch.arange(height)[:, None] - (height - 1) / 2
    x = torch.arange(width)[None, :] - (width - 1) / 2
    step = torch.diff(views, dim=1)
    image = torch.zeros(height * width)
    for i in range(count):
        angle = math.pi * i / count
        at = (x * math.cos(angle) + y * math.sin(angle) + (size - 1) / 2).flatten()
        below = at.long()
        image += views[i][below] + step[i][below] * (at - below)
    return image.reshape(height, width) * (math.pi / count)
