"""Derived series of the queue to the peer."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from ctdenoise.pacs.counters import Counters
from ctdenoise.pacs.retries import Retries
from ctdenoise.pacs.sender import NotSent, Sender
from ctdenoise.pacs.settings import Peer
from ctdenoise.pacs.spool import Spool

LOG = logging.getLogger(__name__)

_PEER = "peer"


class Forwarder:
    """Sends one series after the other, and what was refused again, until it is given up.

    A peer that is away is waited for without an end: that is no fault of a series.

    Args:
        spool: the queue.
        sender: sends files to the peer.
        peer: who that is.
        retries: of series that are refused.
        reaching: of the peer.
        counters: of what happens.
        stop: is looked at between two objects.
    """

    def __init__(
        self,
        spool: Spool,
        sender: Sender,
        peer: Peer,
        *,
        retries: Retries,
        reaching: Retries,
        counters: Counters,
        stop: threading.Event,
    ) -> None:
        self.peer_is_away = False
        self._spool = spool
        self._sender = sender
        self._peer = peer
        self._retries = retries
        self._reaching = reaching
        self._counters = counters
        self._stop = stop

    def step(self) -> bool:
        """Send the next series; False if there is none that may be sent now."""
        if not self._reaching.due(_PEER):
            return False
        series = next((s for s in self._spool.denoised() if self._retries.due(s)), None)
        if series is None:
            return False
        # There are none where an earlier process was ended just before the end of a series.
        files = self._spool.unsent(series)
        problem = self._sender.send(files, self._sent, self._stop) if files else None
        if self._stop.is_set() and self._spool.unsent(series):
            LOG.info("series %s: stopped in sending it, goes on with the next start", series)
        elif problem is None:
            self._is_sent(series)
        elif problem.blames_peer:
            self._is_away(problem)
        else:
            if len(self._spool.unsent(series)) < len(files):
                self._retries.forget(series)  # a step on: no series is too long for a bad line
            self._is_refused(series, problem)
        return True

    def _sent(self, path: Path) -> None:
        path.unlink()
        self._counters.add("sent")

    def _is_sent(self, series: str) -> None:
        self._is_there()
        self._retries.forget(series)
        self._counters.add("series_sent")
        LOG.info("series %s: sent to %s", series, self._peer)
        if not self._spool.finish(series):
            self._counters.add("dead")
            LOG.error("series %s: not all of it could be denoised; it is in dead-letter", series)

    def _is_away(self, problem: NotSent) -> None:
        self.peer_is_away = True
        self._counters.failed("sending", problem.kind)
        delay = self._reaching.failed(_PEER) or 0.0
        LOG.warning("%s %s; tried again in %.0f s", self._peer, problem.reason, delay)

    def _is_refused(self, series: str, problem: NotSent) -> None:
        if problem.asked_peer:
            self._is_there()
        self._counters.failed("sending", problem.kind)
        delay = self._retries.failed(series)
        if delay is not None:
            LOG.warning(
                "series %s: %s: %s; tried again in %.0f s",
                series,
                self._peer,
                problem.reason,
                delay,
            )
            return
        self._counters.add("dead")
        LOG.error(
            "series %s: given up: %s: %s; it is in dead-letter", series, self._peer, problem.reason
        )
        self._spool.bury(series, "sending", [f"{self._peer}: {problem.reason}"])

    def _is_there(self) -> None:
        self.peer_is_away = False
        self._reaching.forget(_PEER)
