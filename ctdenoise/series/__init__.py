"""What comes in: find CT series and read their Hounsfield units."""

from ctdenoise.series.find import find
from ctdenoise.series.model import Found, Instance, LeftOut, Series, SourceImage
from ctdenoise.series.read import read, read_frames

__all__ = ["Found", "Instance", "LeftOut", "Series", "SourceImage", "find", "read", "read_frames"]
