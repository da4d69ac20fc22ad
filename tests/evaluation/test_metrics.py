"""Figures of image quality against other implementations of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve
from skimage import data
from skimage.metrics import structural_similarity
from torch.nn import functional as F
from torchmetrics.functional.image import visual_information_fidelity

from ctdenoise.evaluation.metrics import figures, paper_figures
from ctdenoise.evaluation.unreferenced import edge_kept

CLEAN = data.camera()[100:260, 100:292] / 255.0
NOISY = np.clip(CLEAN + np.random.default_rng(0).normal(0.0, 0.06, CLEAN.shape), 0.0, 1.0)


def photograph(metric: str) -> float:
    nothing = np.zeros(CLEAN.shape, dtype=bool)
    found = figures("photograph", CLEAN, nothing, NOISY, NOISY, 0.0)
    (figure,) = [f for f in found if f.metric == metric]
    return figure.value


def test_vif_is_that_of_torchmetrics() -> None:
    pair = [torch.from_numpy(255.0 * x)[None, None] for x in (NOISY, CLEAN)]
    assert photograph("vif") == pytest.approx(float(visual_information_fidelity(*pair)), rel=0.01)


def test_gmsd_is_its_definition() -> None:
    """Xue et al., 2014: Prewitt gradients at half of the size, T = 170 of 255 squared."""
    kernel = np.array([[1.0, 0.0, -1.0]] * 3) / 3.0

    def gradient(image: np.ndarray) -> np.ndarray:
        half = image.reshape(80, 2, 96, 2).mean((1, 3))
        return np.hypot(convolve(half, kernel), convolve(half, kernel.T))

    a, b = gradient(CLEAN), gradient(NOISY)
    c = 170.0 / 255.0**2
    expected = ((2 * a * b + c) / (a**2 + b**2 + c))[2:-2, 2:-2].std()
    assert photograph("gmsd") == pytest.approx(expected, rel=0.03)


def test_fsim_is_one_for_the_same_and_falls_with_noise() -> None:
    nothing = np.zeros(CLEAN.shape, dtype=bool)
    same = figures("photograph", CLEAN, nothing, NOISY, CLEAN, 0.0)
    assert {f.metric: f.value for f in same}["fsim"] == pytest.approx(1.0, abs=1e-5)
    assert photograph("fsim") < 0.97


def test_paper_figures_are_those_of_its_test() -> None:
    """The published test, written again: HU cut to the window, torch's convolution with zeros."""
    rng = np.random.default_rng(1)
    reference = np.round(-1400.0 + 5000.0 * CLEAN)
    image = reference + rng.normal(0.0, 60.0, reference.shape)
    found = {f.metric: f.value for f in paper_figures(reference, image)}
    a, b = (torch.from_numpy(np.clip(x, -1024.0, 3072.0))[None, None] for x in (reference, image))
    mse = ((a - b) ** 2).mean()
    assert found["psnr"] == pytest.approx(float(10 * torch.log10(4096.0**2 / mse)))
    at = torch.arange(11, dtype=torch.float64) - 5
    line = torch.exp(-(at**2) / (2 * 1.5**2))
    window = torch.outer(line / line.sum(), line / line.sum())[None, None]

    def mean(x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, window, padding=5)

    ma, mb = mean(a), mean(b)
    va, vb, vab = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    c1, c2 = (0.01 * 4096) ** 2, (0.03 * 4096) ** 2
    ssim = (2 * ma * mb + c1) * (2 * vab + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    assert found["ssim"] == pytest.approx(float(ssim.mean()), abs=1e-9)
    # Away from the borders it is scikit-image's.
    _, theirs = structural_similarity(
        np.clip(reference, -1024, 3072), np.clip(image, -1024, 3072), data_range=4096.0,
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True,
    )  # fmt: skip
    np.testing.assert_allclose(ssim[0, 0, 6:-6, 6:-6].numpy(), theirs[6:-6, 6:-6], atol=1e-9)


def test_slope_of_edges_is_what_a_blur_leaves_and_noise_does_not_change() -> None:
    """A mean over three columns leaves two thirds of what central differences see of a step."""
    step = np.where(np.arange(128) < 64, -100.0, 300.0)[None, :].repeat(128, 0)
    nothing = np.zeros(step.shape, dtype=bool)
    noise = np.random.default_rng(0).normal(0.0, 10.0, step.shape)
    kept = edge_kept(step + noise, nothing, step)
    assert kept == pytest.approx(1.0, abs=0.02)
    blurred = convolve(step, np.full((1, 3), 1 / 3), mode="nearest")
    kept = edge_kept(step, nothing, blurred)
    assert kept == pytest.approx(2 / 3, abs=0.02)
    assert edge_kept(np.full((64, 64), 5.0), np.ones((64, 64), bool), step[:64, :64]) is None
