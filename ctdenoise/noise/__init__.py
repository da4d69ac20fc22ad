"""Noise models."""

from ctdenoise.noise.camera import Camera
from ctdenoise.noise.gaussian import correlated_noise, gaussian_noise
from ctdenoise.noise.named import named_generator
from ctdenoise.noise.recipes import AnyGaussian, WhiteGaussian

__all__ = [
    "AnyGaussian",
    "Camera",
    "WhiteGaussian",
    "correlated_noise",
    "gaussian_noise",
    "named_generator",
]
