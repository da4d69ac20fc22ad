"""A level for several slices at once, in threads beside a network that leaves the CPU alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from ctdenoise.hounsfield import HU, Mask
from ctdenoise.level import Level, Seen


class LevelSideBySide:
    """What :class:`~ctdenoise.level.Level` does, each slice of a batch in a thread of its own.

    The result is the same: no slice knows of another.

    Args:
        level: of the series.
        threads: how many; with one, nothing is in another thread.
    """

    def __init__(self, level: Level, threads: int) -> None:
        self._level = level
        self._pool = ThreadPoolExecutor(threads, "level") if threads > 1 else None

    def __enter__(self) -> LevelSideBySide:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def to_network(self, hu: HU, padding: Mask) -> Seen:
        """As :meth:`Level.to_network`."""
        if self._pool is None or len(hu) == 1:
            return self._level.to_network(hu, padding)
        parts = list(self._pool.map(self._level.to_network, hu[:, None], padding[:, None]))
        return Seen(
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.unit for part in parts]),
        )

    def from_network(
        self, hu: HU, padding: Mask, seen: Seen, denoised: NDArray[np.float32], strength: float
    ) -> HU:
        """As :meth:`Level.from_network`."""
        if self._pool is None or len(hu) == 1:
            return self._level.from_network(hu, padding, seen, denoised, strength)

        def one(place: int) -> HU:
            own = slice(place, place + 1)
            images = slice(place * self._level.stride**2, (place + 1) * self._level.stride**2)
            part = Seen(seen.images[images], seen.unit[own])
            return self._level.from_network(hu[own], padding[own], part, denoised[images], strength)

        return np.concatenate(list(self._pool.map(one, range(len(hu)))))
