"""The test noises of the paper, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data

from ctdenoise.noise.photographic import NOISES, poisson

CLEAN = data.camera()[:256, :256] / 255.0


def error(name: str, strength: float, image: np.ndarray = CLEAN) -> np.ndarray:
    return NOISES[name](image, strength, np.random.default_rng(0)) - image


def test_gaussian_is_white_and_unclipped() -> None:
    noise = error("gaussian", 50)
    assert noise.std() * 255 == pytest.approx(50, rel=0.01)
    assert (CLEAN + noise).min() < 0
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.02


def test_spatial_has_a_third_of_its_sigma_and_correlates() -> None:
    noise = error("spatial", 55)
    assert noise.std() * 255 == pytest.approx(55 / 3, rel=0.02)
    neighbours = np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]
    assert neighbours == pytest.approx(2 / 3, abs=0.03)


def test_poisson_variance_follows_the_signal() -> None:
    flat = np.full((256, 256), 128 / 255)
    noise = poisson(flat, 3.5, np.random.default_rng(0), levels=1024) - flat
    assert noise.std() == pytest.approx(3.5 * np.sqrt(128 / 255 / 1024), rel=0.02)


def test_poisson_photons_are_a_power_of_two_above_the_number_of_levels() -> None:
    image = np.repeat(np.arange(5) / 255.0, 2000).reshape(100, 100)
    noisy = poisson(image, 1.0, np.random.default_rng(0))
    assert np.allclose(noisy * 8, np.round(noisy * 8), atol=0.2)


def test_speckle_has_its_variance_times_the_signal_squared() -> None:
    flat = np.full((256, 256), 0.5)
    assert error("speckle", 0.04, flat).var() == pytest.approx(0.04 * 0.25, rel=0.02)


def test_salt_and_pepper_hits_its_share() -> None:
    flat = np.full((512, 512), 0.5)
    noise = error("salt-pepper", 0.02, flat)
    assert (noise > 0).mean() == pytest.approx(0.01, rel=0.1)
    assert (noise < 0).mean() == pytest.approx(0.01, rel=0.1)


@pytest.mark.parametrize(
    ("name", "strength"), [("poisson", 3.5), ("speckle", 0.04), ("salt-pepper", 0.02)]
)
def test_clipped_noises_stay_in_range(name: str, strength: float) -> None:
    noisy = NOISES[name](CLEAN, strength, np.random.default_rng(0))
    assert noisy.min() >= 0
    assert noisy.max() <= 1


def test_mixture_at_nought_changes_nothing() -> None:
    assert np.abs(error("mixture", 0.0)).max() < 1e-12
