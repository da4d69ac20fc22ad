"""What computes a network: PyTorch on CPU and GPU, or OpenVINO on CPU."""

from ctdenoise.backends.base import Backend, Device, Precision
from ctdenoise.backends.choice import open_backend

__all__ = ["Backend", "Device", "Precision", "open_backend"]
