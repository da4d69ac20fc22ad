"""Training: images, noise, and the recipes on MONAI's engines."""

from ctdenoise.training.contrastive import DenseInfoNCE, prepare_views
from ctdenoise.training.encoders import denoiser_with
from ctdenoise.training.images import ImageSet, read_ct, read_photographs
from ctdenoise.training.patches import NoisyPatches, ValidationImages
from ctdenoise.training.trainer import Plan, supervised_trainer

__all__ = [
    "DenseInfoNCE",
    "ImageSet",
    "NoisyPatches",
    "Plan",
    "ValidationImages",
    "denoiser_with",
    "prepare_views",
    "read_ct",
    "read_photographs",
    "supervised_trainer",
]
