"""Classical denoisers to compare with, each with the one setting that is tuned.

They take an image in any unit and its noise in the same unit. All work on one slice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctdenoise.errors import CTDenoiseError

Image = NDArray[np.float64]
Peer = Callable[[Image, float, float], Image]
"""From an image (H, W), its noise and a setting to the denoised image (H, W)."""

_ONE_AT_A_TIME = Lock()
"""BM3D has threads of its own, and ends the process where two calls want them at once."""


@dataclass(frozen=True)
class Tunable:
    """A peer and the values of its setting that are worth trying.

    Attributes:
        denoise: the method.
        settings: in units of the noise where that has a meaning.
    """

    denoise: Peer
    settings: Sequence[float]


def nlm(image: Image, sigma: float, setting: float) -> Image:
    """Non-local means of scikit-image, 5 x 5 patches within 13 x 13 places.

    Args:
        image: (H, W).
        sigma: its noise.
        setting: cut-off of the patch distance, in units of the noise.
    """
    from skimage.restoration import denoise_nl_means

    h = setting * sigma
    return np.asarray(denoise_nl_means(image, 5, 6, h=h, sigma=sigma, fast_mode=True))


def tv(image: Image, sigma: float, setting: float) -> Image:
    """Total variation of scikit-image (Chambolle); ``setting`` times the noise is its weight."""
    from skimage.restoration import denoise_tv_chambolle

    return np.asarray(denoise_tv_chambolle(image, weight=setting * sigma))


def wavelet(image: Image, sigma: float, setting: float) -> Image:
    """BayesShrink of scikit-image, with the noise taken to be ``setting`` times what it is."""
    from skimage.restoration import denoise_wavelet

    return np.asarray(denoise_wavelet(image, sigma=setting * sigma, rescale_sigma=False))


def curvature_flow(image: Image, sigma: float, setting: float) -> Image:
    """Curvature flow of SimpleITK, ``setting`` steps of 0.125, on the image over its noise."""
    import SimpleITK

    flow = SimpleITK.CurvatureFlow(
        SimpleITK.GetImageFromArray(image / sigma), 0.125, max(1, round(setting))
    )
    return np.asarray(SimpleITK.GetArrayFromImage(flow)) * sigma


def bm3d_white(image: Image, sigma: float, setting: float) -> Image:
    """BM3D, with white noise of ``setting`` times the true level.

    Raises:
        CTDenoiseError: bm3d is not installed.
    """
    return _bm3d()(image, setting * sigma)


def bm3d_with_spectrum(noises: Sequence[Image]) -> Peer:
    """BM3D that knows the noise's power spectrum.

    Args:
        noises: samples (H, W) of the very noise that is in the images, of their size.

    Returns:
        A peer whose setting is the share of the true standard deviation that it is told.

    Raises:
        CTDenoiseError: bm3d is not installed.
    """
    bm3d = _bm3d()
    power = np.mean([np.abs(np.fft.fft2(noise - noise.mean())) ** 2 for noise in noises], axis=0)

    def denoise(image: Image, sigma: float, setting: float) -> Image:
        # The spectrum has the noise's level in it.
        return bm3d(image, setting**2 * power)

    return denoise


def require_bm3d() -> None:
    """Make sure that BM3D is there.

    Raises:
        CTDenoiseError: bm3d is not installed.
    """
    _bm3d()


def _bm3d() -> Callable[..., Image]:
    try:
        from bm3d import bm3d
    except ImportError:
        raise CTDenoiseError(
            "bm3d is not installed: pip install bm3d (free for non-commercial use only)"
        ) from None
    if not hasattr(np, "trapz"):
        # bm4d, below bm3d, still calls it by the name that NumPy 2.4 dropped.
        setattr(np, "trapz", np.trapezoid)  # noqa: B010

    def denoise(*arguments: Any) -> Image:
        with _ONE_AT_A_TIME:
            return np.asarray(bm3d(*arguments))

    return denoise


PEERS: Mapping[str, Tunable] = MappingProxyType(
    {
        "nlm": Tunable(nlm, (0.4, 0.6, 0.8, 1.0, 1.3)),
        "tv": Tunable(tv, (0.5, 0.75, 1.0, 1.5, 2.0, 3.0)),
        "wavelet": Tunable(wavelet, (0.5, 1.0, 1.5, 2.0)),
        "curvature-flow": Tunable(curvature_flow, (5, 10, 20, 40)),
        "bm3d": Tunable(bm3d_white, (1.0, 1.5, 2.0, 3.0)),
    }
)
"""By name; BM3D with the true spectrum needs samples of the noise and is not among them."""
