"""The node: receives in threads of associations, denoises in the calling one, sends in another."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from ctdenoise.denoiser import Denoiser
from ctdenoise.pacs.counters import Counters
from ctdenoise.pacs.forwarder import Forwarder
from ctdenoise.pacs.monitor import Health, Monitor
from ctdenoise.pacs.receiver import Receiver
from ctdenoise.pacs.retries import Retries
from ctdenoise.pacs.sender import Sender
from ctdenoise.pacs.settings import NodeSettings
from ctdenoise.pacs.spool import Spool
from ctdenoise.pacs.worker import Worker
from ctdenoise.run import RunSettings

LOG = logging.getLogger(__name__)

_LOOK_SECONDS = 0.2
_GRACE_SECONDS = 5.0
_OFTEN = 3
"""Failures of a stage in a row, without a step that went well, that somebody should know of."""


class Node:
    """A DICOM node; it listens as soon as it is made, :meth:`work` does the rest.

    Args:
        settings: who and where.
        denoiser: the model, loaded.
        run_settings: as for a run.
        stop: is set to shut the node down.
        revive: put dead letters back into the queue first.

    Raises:
        CTDenoiseError: a port or the spool cannot be had.
    """

    def __init__(
        self,
        settings: NodeSettings,
        denoiser: Denoiser,
        run_settings: RunSettings,
        stop: threading.Event,
        *,
        revive: bool = False,
    ) -> None:
        self._settings = settings
        self._stop = stop
        self._counters = Counters()
        self._failing = {"denoising": 0, "sending": 0}
        self._sender = Sender(settings.aet, settings.forward)
        self._spool = Spool(settings.spool, remember=settings.remember)
        self._monitor: Monitor | None = None
        try:
            if revive:
                LOG.info("%d dead letters are tried again", self._spool.revive())
            self._forwarder = Forwarder(
                self._spool,
                self._sender,
                settings.forward,
                retries=self._retries(settings.retries),
                reaching=self._retries(None),
                counters=self._counters,
                stop=stop,
            )
            self._sending = threading.Thread(
                target=self._repeat, args=("sending", self._forwarder.step), name="sending"
            )
            if settings.http_port is not None:
                self._monitor = Monitor(
                    settings.http_host, settings.http_port, self._health, self._metrics
                )
            self._receiver = Receiver(settings, self._spool, self._counters)
        except BaseException:
            self._close()
            raise
        self._worker = Worker(
            self._spool,
            self._receiver.arrivals,
            denoiser,
            run_settings,
            retries=self._retries(settings.retries),
            tries=settings.retries,
            counters=self._counters,
            stop=stop,
        )

    def work(self) -> None:
        """Denoise and send what comes, until the node is to stop; then shut it down."""
        where = f"{self._settings.aet} at {self._settings.host or 'all addresses'}"
        LOG.info("%s, port %d, sends to %s", where, self._settings.port, self._settings.forward)
        self._sending.start()
        if self._monitor is not None:
            self._monitor.start()
        try:
            self._repeat("denoising", self._worker.step)
        finally:
            self._stop.set()
            self._receiver.stop(_GRACE_SECONDS)
            self._sending.join(_GRACE_SECONDS)
            self._sender.abort()
            self._sending.join()
            self._close()
            LOG.info("stopped; what is not done yet is kept in the spool")

    def _retries(self, limit: int | None) -> Retries:
        settings = self._settings
        return Retries(first=settings.retry_delay, longest=settings.longest_delay, limit=limit)

    def _repeat(self, stage: str, step: Callable[[], bool]) -> None:
        while not self._stop.is_set():
            try:
                pause = 0.0 if step() else _LOOK_SECONDS
                self._failing[stage] = 0
            except Exception as error:  # a full disk, say, which somebody will see to
                self._failing[stage] += 1
                self._counters.failed(stage, type(error).__name__)
                said = (isinstance(error, OSError) and error.strerror) or type(error).__name__
                LOG.error("%s: unexpected: %s", stage, said)
                LOG.debug("%s", stage, exc_info=True)
                pause = self._settings.retry_delay
            self._stop.wait(pause)

    def _close(self) -> None:
        if self._monitor is not None:
            self._monitor.close()
        self._spool.close()

    def _health(self) -> Health:
        ill = []
        if self._stop.is_set():
            ill.append("shutting down")
        if not self._receiver.is_listening:
            ill.append("receiving has ended")
        if not self._sending.is_alive():
            ill.append("sending has ended")
        ill += [f"{stage} fails" for stage, times in self._failing.items() if times >= _OFTEN]
        if self._spool.free_bytes() < self._settings.min_free_bytes:
            ill.append("the disk is full")
        said = {
            "status": "; ".join(ill) or "ok",
            "peer": "away" if self._forwarder.peer_is_away else "ok",
            "queue": self._queue(),
            "dead_letters": len(self._spool.dead_letters),
            "associations": self._receiver.open_associations,
        }
        return not ill, said

    def _queue(self) -> dict[str, int]:
        spool = self._spool
        return {
            "incoming": len(spool.incoming()),
            "ready": len(spool.ready()),
            "denoised": len(spool.denoised()),
        }

    def _metrics(self) -> str:
        away = float(self._forwarder.peer_is_away)
        return self._counters.text(
            {
                "queue": ("series in the queue, by stage", self._queue()),
                "dead_letters": ("series that wait for somebody", len(self._spool.dead_letters)),
                "associations_open": ("now", self._receiver.open_associations),
                "peer_away": ("1 while the peer cannot be reached", away),
                "free_bytes": ("of the disk of the spool", self._spool.free_bytes()),
            }
        )
