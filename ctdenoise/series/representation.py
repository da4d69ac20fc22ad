"""Whether stored values are signed: files say it wrongly, and HU are then off by thousands."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from ctdenoise.errors import DamagedError
from ctdenoise.series.decoding import Words
from ctdenoise.series.frames import rescale
from ctdenoise.series.layout import Layout
from ctdenoise.series.padding import is_padding

_AIR, _BONE = -500.0, 1500.0
"""HU that a reading of CT must be able to reach, at least."""
_LOWEST, _HIGHEST = -4096.0, 20_000.0
"""HU that CT has, padding and metal included."""
_SURE = 8
"""How many times as many jumps the wrong reading must have."""


def as_values(words: Words, layout: Layout, *, signed: bool) -> NDArray[Any]:
    """Stored values of a frame (H, W), read as signed or as unsigned.

    Raises:
        DamagedError: they do not fit the bits that the header says.
    """
    size = layout.allocated // 8
    values = words.values.astype(f"i{size}" if signed else f"u{size}", copy=False)
    unused = values.dtype.itemsize * 8 - words.bits
    if signed and unused:
        values = (values << unused) >> unused
    lowest, highest = value_range(layout.stored, signed=signed)
    if words.bits > layout.stored and (values.min() < lowest or values.max() > highest):
        raise DamagedError("its pixels have more bits than its Bits Stored")
    return values


def value_range(bits: int, *, signed: bool) -> tuple[int, int]:
    """Lowest and highest value of so many bits."""
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def lowest_and_highest_hu(header: Dataset, layout: Layout, *, signed: bool) -> tuple[float, float]:
    """What HU the stored values of the first frame could have."""
    slope, intercept = rescale(header, 0) or (1.0, 0.0)
    ends = [slope * end + intercept for end in value_range(layout.stored, signed=signed)]
    return min(ends), max(ends)


def first_guess(words: Words, layout: Layout) -> bool:
    """Signed or not by what is said: a compressed frame that says signed is believed."""
    return layout.signed or words.signed is True


def is_contradicted(words: Words, header: Dataset, layout: Layout, *, signed: bool) -> bool:
    """Whether a frame shows that its values are not signed, or not unsigned, as they are taken.

    Only values of the upper half of the range are read differently. With the wrong reading a
    small step across the middle, or across zero, becomes a jump of almost the whole range: an
    image with many of these, and with hardly any in the other reading, is read wrongly. Short
    words with metal beside air could look the same, so that with fewer than 16 bits something
    else must speak for it too: that nothing of CT fits the HU otherwise, or the header.
    """
    if int(words.values.max()) < 1 << (words.bits - 1):
        return False
    if words.extended:
        return not signed
    supported = (
        words.bits >= 16
        or layout.signed != signed
        or (_misses_ct(header, layout, signed) and not _misses_ct(header, layout, not signed))
    )
    if not supported:
        return False
    ours = _jumps(as_values(words, layout, signed=signed), header, words.bits, signed)
    if ours <= _SURE:
        return False
    values = as_values(words, layout, signed=not signed)
    other = _jumps(values, header, words.bits, not signed)
    return ours > _SURE * (other + 1) and _is_plausible(values, words, header)


def _is_plausible(values: NDArray[Any], words: Words, header: Dataset) -> bool:
    """Whether most values that another reading changes are HU that CT has in it."""
    slope, intercept = rescale(header, 0) or (1.0, 0.0)
    changed = values[words.values >> (words.bits - 1) != 0]
    return bool(_LOWEST <= slope * np.median(changed) + intercept <= _HIGHEST)


def _misses_ct(header: Dataset, layout: Layout, signed: bool) -> bool:
    lowest, highest = lowest_and_highest_hu(header, layout, signed=signed)
    return lowest > _AIR or highest < _BONE


def _jumps(values: NDArray[Any], header: Dataset, bits: int, signed: bool) -> int:
    """Neighbours, along rows and columns, that differ by more than half of what values can be."""
    if int(values.max()) - int(values.min()) <= 1 << (bits - 1):
        return 0
    wide = values.astype(np.int32 if bits <= 16 else np.int64)
    far = [np.abs(np.diff(wide, axis=axis)) > 1 << (bits - 1) for axis in (0, 1)]
    total = int(sum(np.count_nonzero(pairs) for pairs in far))
    if total <= _SURE:
        return total
    image = ~is_padding(header, values, signed=signed)
    both = image[1:] & image[:-1], image[:, 1:] & image[:, :-1]
    return int(sum(np.count_nonzero(pairs & ok) for pairs, ok in zip(far, both, strict=True)))
