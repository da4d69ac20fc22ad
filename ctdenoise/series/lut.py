"""A Modality LUT in a CT image, as the rescale that it stands for.

The CT Image IOD has a rescale and no LUT (DICOM PS3.3 section A.3.3), and so has what is derived of
such an image. A LUT that is a straight line is exactly a rescale; any other one is refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from ctdenoise.errors import DamagedError

_NO_LINE = "its Modality LUT is no straight line, which no rescale of a CT image can say"


def has_lut(header: Dataset) -> bool:
    """Whether HU come by a Modality LUT."""
    return bool(header.get("ModalityLUTSequence"))


def lut_rescale(header: Dataset) -> tuple[float, float]:
    """Slope and intercept that give what the Modality LUT gives.

    Raises:
        DamagedError: none do, or the file has others as well, or the LUT does not give HU.
    """
    lut = header.ModalityLUTSequence[0]
    if "SharedFunctionalGroupsSequence" in header or "PerFrameFunctionalGroupsSequence" in header:
        raise DamagedError("it has a Modality LUT beside functional groups")
    if str(lut.get("ModalityLUTType") or "HU").strip().upper() != "HU":
        raise DamagedError("its Modality LUT does not say that it gives HU")
    first, entries = _first_and_entries(header, lut)
    steps = np.unique(np.diff(entries))
    if len(steps) != 1 or steps[0] == 0:
        raise DamagedError(_NO_LINE)
    slope = float(steps[0])
    scale = slope, float(entries[0]) - slope * first
    said = header.get("RescaleSlope"), header.get("RescaleIntercept")
    if said != (None, None) and said != scale:
        raise DamagedError("its Modality LUT and its rescale give different HU")
    return scale


def check_domain(domain: tuple[int, int], stored: NDArray[Any]) -> None:
    """Make sure that the LUT has an entry for each value: it would give others the first or last.

    ``domain`` is what :func:`replace_lut` returned.

    Raises:
        DamagedError: it has not.
    """
    if stored.size and (stored.min() < domain[0] or stored.max() > domain[1]):
        raise DamagedError(_NO_LINE)


def replace_lut(header: Dataset) -> tuple[int, int]:
    """Give a header the rescale in the place of its Modality LUT.

    Returns:
        Lowest and highest stored value that the LUT is for.
    """
    slope, intercept = lut_rescale(header)
    first, entries = _first_and_entries(header, header.ModalityLUTSequence[0])
    del header.ModalityLUTSequence
    header.RescaleSlope, header.RescaleIntercept = f"{slope:.0f}", f"{intercept:.0f}"
    header.RescaleType = "HU"
    return first, first + len(entries) - 1


def _first_and_entries(header: Dataset, lut: Dataset) -> tuple[int, NDArray[np.int64]]:
    """The stored value that the first entry is for, and the entries.

    Entries are unsigned (PS3.3 section C.11.1.1.1); those that jump once by the whole range are
    taken for the signed numbers that HU below zero need.
    """
    count, first, bits = (int(value) for value in lut.LUTDescriptor)
    count = count or 2**16
    if header.PixelRepresentation == 1 and first >= 2**15:
        first -= 2**16
    data = lut.LUTData
    if isinstance(data, bytes):
        little_endian = header.original_encoding[1] is not False
        size = 1 if bits == 8 and len(data) < 2 * count else 2
        data = np.frombuffer(data, f"{'<' if little_endian else '>'}u{size}")
    entries = np.atleast_1d(np.asarray(data, dtype=np.int64))[:count]
    if bits not in (8, 16) or len(entries) < max(count, 2):
        raise DamagedError("its Modality LUT is damaged")
    jumps = np.abs(np.diff(entries)) > 2 ** (bits - 1)
    if bits == 16 and np.count_nonzero(jumps) == 1:
        entries = (entries + 2**15) % 2**16 - 2**15
    return first, entries
