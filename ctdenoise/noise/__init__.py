"""Noise models."""

from ctdenoise.noise.gaussian import gaussian_noise

__all__ = ["gaussian_noise"]
