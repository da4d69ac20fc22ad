"""Networks: the frozen dense encoder and the denoiser around it."""

from ctdenoise.networks.denoiser import CLIPDenoiser
from ctdenoise.networks.encoder import DenseEncoder, freeze

__all__ = ["CLIPDenoiser", "DenseEncoder", "freeze"]
