"""Training: photographs, noise, and the recipes on MONAI's engines."""

from ctdenoise.training.contrastive import DenseInfoNCE, prepare_views
from ctdenoise.training.photographs import NoisyPhotographs, list_images

__all__ = ["DenseInfoNCE", "NoisyPhotographs", "list_images", "prepare_views"]
