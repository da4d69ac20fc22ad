"""When something that failed is tried again, and when it is given up."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass


@dataclass
class _Failing:
    tries: int = 0
    not_before: float = 0.0


class Retries:
    """Back-off of things by name: the wait doubles with each failure, up to a longest one.

    It is shortened by up to half at random, so that nodes that failed together do not come back
    together. Known in memory only: after a restart all is tried anew.

    Args:
        first: seconds after the first failure.
        longest: seconds, most that is waited.
        limit: tries after which a thing is given up; None for never.
    """

    def __init__(self, *, first: float, longest: float, limit: int | None = None) -> None:
        self._first = first
        self._longest = longest
        self._limit = limit
        self._failing: dict[str, _Failing] = {}
        self._lock = threading.Lock()

    def due(self, name: str) -> bool:
        """Whether it may be tried now."""
        with self._lock:
            known = self._failing.get(name)
            return known is None or time.monotonic() >= known.not_before

    def failed(self, name: str) -> float | None:
        """It failed: seconds until it is tried again, or None if it is given up."""
        with self._lock:
            known = self._failing.setdefault(name, _Failing())
            known.tries += 1
            if self._limit is not None and known.tries >= self._limit:
                del self._failing[name]
                return None
            # The exponent is bounded, or years of failures would overflow.
            delay = min(self._longest, self._first * 2.0 ** min(known.tries - 1, 30))
            delay *= random.uniform(0.5, 1.0)
            known.not_before = time.monotonic() + delay
            return delay

    def forget(self, name: str) -> None:
        """It went well."""
        with self._lock:
            self._failing.pop(name, None)
