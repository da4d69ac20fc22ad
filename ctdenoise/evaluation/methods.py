"""Denoisers behind one interface: models, classical methods, and any function."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from skimage.restoration import estimate_sigma

from ctdenoise.denoiser import Denoiser, match_level
from ctdenoise.errors import CTDenoiseError
from ctdenoise.evaluation.images import Kind
from ctdenoise.evaluation.peers import PEERS, Tunable, bm3d_with_spectrum, require_bm3d
from ctdenoise.hounsfield import HU, HUWindow, Mask
from ctdenoise.measured_noise import measure_noise, noise_level
from ctdenoise.models.registry import EMBEDDED, load

TRUE_SPECTRUM = "bm3d-psd"


@dataclass(frozen=True)
class Seen:
    """What a method is given.

    Attributes:
        noisy: the image (H, W) in [0, 1] or HU.
        padding: pixels that are no image.
        kind: which of the two.
        truth: its noise, where it is known; only BM3D with the true spectrum looks at it.
    """

    noisy: HU
    padding: Mask
    kind: Kind
    truth: HU | None

    @property
    def sigma(self) -> float:
        """The noise as one measures it: in soft tissue, or by the finest wavelets."""
        measured = noise_level(self.noisy, self.padding) if self.kind == "ct" else None
        return float(measured or estimate_sigma(self.noisy) or 1e-6)


@dataclass(frozen=True)
class Method:
    """A denoiser; one with more than one setting is tuned on the validation images.

    Attributes:
        name: by which figures name it.
        function: from what is seen and a setting to the denoised image (H, W).
        settings: worth trying.
        digest: of a model's weights; empty for what has none.
    """

    name: str
    function: Callable[[Seen, float], HU]
    settings: Sequence[float] = (1.0,)
    digest: str = ""

    def __call__(self, seen: Seen, setting: float) -> HU:
        return self.function(seen, setting)


def parse_method(text: str, window: HUWindow | None = None) -> Method:
    """A method by name.

    Args:
        text: ``identity``, a classical method, ``bm3d-psd``, a model's name or file, or
            ``package.module:function``, a function of one image (H, W) that gives another.
        window: HU that are [0, 1] to a model, whatever the noise; None matches the noise.

    Raises:
        CTDenoiseError: there is no such method, or it needs what is not installed.
    """
    if text == "identity":
        return Method(text, lambda seen, _: seen.noisy)
    if text in PEERS:
        if text == "bm3d":
            require_bm3d()
        return _classical(text, PEERS[text])
    if text == TRUE_SPECTRUM:
        require_bm3d()
        return Method(text, _true_spectrum, (0.8, 1.0, 1.3))
    if ":" in text:
        return _from_python(text)
    try:
        return _model(text, window)
    except CTDenoiseError as error:
        known = ", ".join(["identity", *PEERS, TRUE_SPECTRUM])
        raise CTDenoiseError(
            f"--methods {text}: {error}; other methods are {known}, and module:function"
        ) from None


def _classical(name: str, peer: Tunable) -> Method:
    def denoise(seen: Seen, setting: float) -> HU:
        return peer.denoise(seen.noisy, seen.sigma, setting)

    return Method(name, denoise, peer.settings)


def _true_spectrum(seen: Seen, setting: float) -> HU:
    if seen.truth is None:
        raise CTDenoiseError("needs the true noise, which nobody knows here")
    return bm3d_with_spectrum([seen.truth])(seen.noisy, 1.0, setting)


def _from_python(text: str) -> Method:
    module, _, attribute = text.partition(":")
    try:
        function: Callable[[HU], Any] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise CTDenoiseError(f"--methods {text}: cannot be imported ({error})") from None

    def denoise(seen: Seen, _: float) -> HU:
        made = np.asarray(function(seen.noisy.copy()), dtype=np.float64)
        if made.shape != seen.noisy.shape:
            raise CTDenoiseError(f"{text}: gave {made.shape} for {seen.noisy.shape}")
        return made

    return Method(text, denoise)


def _model(text: str, window: HUWindow | None) -> Method:
    # Images go side by side, a thread each, which OpenVINO would put in a row.
    denoiser = Denoiser(load(text), backend="torch")

    def denoise(seen: Seen, _: float) -> HU:
        if seen.kind == "ct":
            hu, padding = seen.noisy[None], seen.padding[None]
            noise = measure_noise([(seen.noisy, seen.padding)])
            level = match_level(denoiser.card, noise, window)
            return np.asarray(denoiser(hu, padding, level)[0], dtype=np.float64)
        image = denoiser.infer(seen.noisy[None].astype(np.float32))[0]
        return np.asarray(image, dtype=np.float64)

    name = text if text in EMBEDDED else f"{denoiser.card.name}@{denoiser.digest[:8]}"
    return Method(name, denoise, digest=denoiser.digest)
