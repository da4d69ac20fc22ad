"""When a series is whole: nothing came of it for a while, and nobody is about to send more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class _Arriving:
    latest: float
    associations: set[threading.Thread] = field(default_factory=set)


class Arrivals:
    """Which series are coming in. DICOM does not say when a series ends: silence does.

    Args:
        quiet_time: seconds without an object. What an earlier process left has been quiet since
            this one began: whoever was sending may need a moment to come back.
    """

    def __init__(self, quiet_time: float) -> None:
        self._quiet_time = quiet_time
        self._began = time.monotonic()
        self._arriving: dict[str, _Arriving] = {}
        self._lock = threading.Lock()

    def note(self, series: str, association: threading.Thread) -> None:
        """An object of a series is here; to be said before it is stored, and after."""
        now = time.monotonic()
        with self._lock:
            arriving = self._arriving.setdefault(series, _Arriving(now))
            arriving.latest = now
            arriving.associations.add(association)

    def claim(self, series: str, claim: Callable[[str], str | None]) -> str | None:
        """What ``claim`` gives for a series that is whole, None for any other.

        Nothing of the series is stored meanwhile.
        """
        with self._lock:
            arriving = self._arriving.get(series) or _Arriving(self._began)
            # An association has a thread for as long as it is open.
            if any(association.is_alive() for association in arriving.associations):
                return None
            if time.monotonic() - arriving.latest < self._quiet_time:
                return None
            claimed = claim(series)
            if claimed is not None:
                self._arriving.pop(series, None)
            return claimed
