"""Hounsfield units back to stored values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctdenoise.hounsfield import HU
from ctdenoise.series.model import SourceImage
from ctdenoise.series.padding import padding_range
from ctdenoise.series.pixels import stored_range


def to_stored(hu: HU, source: SourceImage) -> NDArray[Any]:
    """Stored values (F, H, W) in the source's type, slope and intercept.

    Rounded to nearest and clipped to what the source can store. Padding is exactly the
    source's, and no other pixel gets a padding value. Unchanged HU give unchanged values.
    """
    slope, intercept = source.slope[:, None, None], source.intercept[:, None, None]
    exact = (hu - intercept) / slope
    if np.issubdtype(source.stored.dtype, np.floating):
        return np.where(source.padding, source.stored, exact).astype(source.stored.dtype)
    lowest, highest = _bounds(source)
    stored = np.clip(np.rint(exact), lowest, highest)
    bounds = None if source.header is None else padding_range(source.header)
    if bounds is not None:
        stored = _off_padding(stored, exact, bounds, lowest, highest)
    return np.where(source.padding, source.stored, stored).astype(source.stored.dtype)


def _bounds(source: SourceImage) -> tuple[int, int]:
    if source.header is not None:
        return stored_range(source.header)
    limits = np.iinfo(source.stored.dtype)
    return limits.min, limits.max


def _off_padding(stored: HU, exact: HU, padding: tuple[int, int], lowest: int, highest: int) -> HU:
    """Move values that would read as padding to the nearest one that does not."""
    below, above = padding[0] - 1, padding[1] + 1
    up = (exact - below > above - exact) | (below < lowest)
    up &= above <= highest
    clash = (stored >= padding[0]) & (stored <= padding[1])
    return np.where(clash, np.where(up, above, below), stored)
