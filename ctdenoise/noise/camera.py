"""Camera noise: a photograph back to raw, noise there, and forward again.

Source: Guo et al., "Toward Convolutional Blind Denoising of Real Photographs" (CBDNet), CVPR 2019,
section 3.2, here with one level of noise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ctdenoise.errors import CTDenoiseError

Patch = NDArray[np.float32]

# Linear sRGB to the colours of a camera with overlapping filters; rows sum to 1, so gray is gray.
_SRGB_TO_CAMERA = (
    (0.6188, 0.3020, 0.0792),
    (0.1457, 0.7413, 0.1130),
    (0.0401, 0.2116, 0.7483),
)


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Poisson-Gaussian noise of one level in the raw image of a photograph.

    The photograph loses its sRGB tone curve, goes to the camera's colours and their white
    balance, and to a Bayer mosaic. Noise of variance ``shot * x + read**2`` is added there; both
    mosaics, with and without it, go the way back. What is learned is the clean one of the two,
    so that what the mosaic itself does to the image is no noise.

    Attributes:
        shot: variance of a raw value of 1 due to photons.
        read: standard deviation of the sensor's own noise.
        max_gain: white balance of red and of blue is uniform in [1, max_gain].
    """

    shot: float = 0.01
    read: float = 0.02
    max_gain: float = 2.0

    def __call__(self, clean: Patch, rng: np.random.Generator) -> tuple[Patch, Patch]:
        """Noisy and clean, after the mosaic (3, H, W), H and W even.

        Raises:
            CTDenoiseError: kornia is not installed.
        """
        try:
            from kornia.color import (
                CFA,
                linear_rgb_to_rgb,
                raw_to_rgb,
                rgb_to_linear_rgb,
                rgb_to_raw,
            )
        except ImportError:
            raise CTDenoiseError("camera noise needs kornia: pip install kornia") from None

        to_camera = torch.tensor(_SRGB_TO_CAMERA)
        balance = torch.tensor([*rng.uniform(1.0, self.max_gain, 2), 1.0])[[0, 2, 1]].float()
        linear = rgb_to_linear_rgb(torch.from_numpy(np.ascontiguousarray(clean)))
        camera = torch.einsum("ij,jhw->ihw", to_camera, linear) / balance[:, None, None]
        raw = rgb_to_raw(camera, CFA.BG).numpy()
        sigma = np.sqrt(self.shot * np.maximum(raw, 0.0) + self.read**2)
        noisy = np.clip(raw + sigma * rng.standard_normal(raw.shape, dtype=np.float32), 0.0, 1.0)

        def develop(mosaic: NDArray[np.float32]) -> Patch:
            demosaiced = raw_to_rgb(torch.from_numpy(mosaic)[None], CFA.BG)[0]
            balanced = demosaiced * balance[:, None, None]
            rgb = torch.einsum("ij,jhw->ihw", torch.linalg.inv(to_camera), balanced)
            developed: Patch = linear_rgb_to_rgb(rgb.clamp(0.0, 1.0)).numpy()
            return developed

        return develop(noisy.astype(np.float32)), develop(raw)
