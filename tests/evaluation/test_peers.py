"""Classical denoisers: they denoise, in any unit."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from skimage import data

from ctdenoise.errors import CTDenoiseError
from ctdenoise.evaluation.peers import PEERS, bm3d_with_spectrum
from ctdenoise.noise import correlated_noise

CLEAN = data.camera()[100:228, 100:228].astype(float)
NOISE = correlated_noise(CLEAN.shape, 20.0, np.random.default_rng(0), correlation=0.0).astype(float)


def rmse(image: np.ndarray) -> float:
    return float(np.sqrt(np.mean((image - CLEAN) ** 2)))


@pytest.mark.parametrize("name", PEERS)
def test_peer_denoises_in_any_unit(name: str) -> None:
    peer = PEERS[name]
    if name == "bm3d":
        pytest.importorskip("bm3d")
    images = [peer.denoise(CLEAN + NOISE, 20.0, setting) for setting in peer.settings]
    assert min(rmse(image) for image in images) < 0.75 * rmse(CLEAN + NOISE)
    other = peer.denoise(10.0 * (CLEAN + NOISE), 200.0, peer.settings[1])
    np.testing.assert_allclose(other / 10.0, images[1], atol=1.0)


def test_bm3d_with_the_spectrum_beats_bm3d_without_on_correlated_noise() -> None:
    pytest.importorskip("bm3d")
    rng = np.random.default_rng(0)
    samples = [
        correlated_noise(CLEAN.shape, 20.0, rng, correlation=1.0).astype(float) for _ in range(4)
    ]
    noisy = CLEAN + samples[0]
    informed = bm3d_with_spectrum(samples)(noisy, 20.0, 1.0)
    assert rmse(informed) < rmse(PEERS["bm3d"].denoise(noisy, 20.0, 1.0))


def test_bm3d_in_several_threads() -> None:
    pytest.importorskip("bm3d")
    noisy = np.random.default_rng(0).normal(0.0, 20.0, (64, 64))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: PEERS["bm3d"].denoise(noisy, 20.0, 1.0), range(8)))
    np.testing.assert_allclose(found, np.broadcast_to(found[0], (8, 64, 64)), atol=1e-3)


def test_missing_bm3d_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm3d", None)
    with pytest.raises(CTDenoiseError, match="pip install bm3d"):
        PEERS["bm3d"].denoise(CLEAN, 20.0, 1.0)
