"""When a series is whole: nothing came of it for a while, and nobody is about to send more."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class _Arriving:
    latest: float
    associations: weakref.WeakSet[threading.Thread] = field(default_factory=weakref.WeakSet)


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
            for known in [s for s, arriving in self._arriving.items() if self._is_whole(arriving)]:
                del self._arriving[known]
            arriving = self._arriving.setdefault(series, _Arriving(now))
            arriving.latest = now
            arriving.associations.add(association)

    def claim(self, series: str, claim: Callable[[str], str | None]) -> str | None:
        """What ``claim`` gives for a series that is whole, None for any other.

        Nothing of the series is stored meanwhile.
        """
        with self._lock:
            arriving = self._arriving.get(series) or _Arriving(self._began)
            return claim(series) if self._is_whole(arriving) else None

    def _is_whole(self, arriving: _Arriving) -> bool:
        # An association has a thread for as long as it is open.
        return time.monotonic() - arriving.latest >= self._quiet_time and not any(
            association.is_alive() for association in list(arriving.associations)
        )
