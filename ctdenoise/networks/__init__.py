"""Networks: the frozen dense encoder, the denoiser around it, and DnCNN to compare with."""

from ctdenoise.networks.denoiser import CLIPDenoiser
from ctdenoise.networks.dncnn import DnCNN
from ctdenoise.networks.encoder import DenseEncoder, freeze

__all__ = ["CLIPDenoiser", "DenseEncoder", "DnCNN", "freeze"]
