"""Low-dose CT denoising with frozen dense features of a natural-image encoder."""

__version__ = "0.1.0"
