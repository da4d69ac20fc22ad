"""Health and counters over HTTP, for whatever watches the node."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ctdenoise.errors import CTDenoiseError

LOG = logging.getLogger(__name__)

Health = tuple[bool, Mapping[str, Any]]

_LOOK_SECONDS = 0.1


class Monitor:
    """Answers ``/health`` (JSON; 200, or 503 where something is wrong) and ``/metrics``.

    Args:
        host: address to listen at.
        port: the port.
        health: gives whether all is well, and what is said of it.
        metrics: gives the text for Prometheus.

    Raises:
        CTDenoiseError: the port cannot be had.
    """

    def __init__(
        self, host: str, port: int, health: Callable[[], Health], metrics: Callable[[], str]
    ) -> None:
        answers = {"/health": _health(health), "/metrics": _metrics(metrics)}
        try:
            self._server = _Server((host, port), partial(_Handler, answers))
        except OSError as error:
            where = f"{host}, HTTP port {port}"
            raise CTDenoiseError(f"{where}: cannot listen: {error.strerror or error}") from None
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_LOOK_SECONDS,), name="monitor", daemon=True
        )

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up before it has its answer is nothing to tell."""


_Answer = tuple[int, str, str]
_UNKNOWN: _Answer = (404, "text/plain", "/health or /metrics\n")
_FAILED: _Answer = (500, "text/plain", "the node cannot say\n")


class _Handler(BaseHTTPRequestHandler):
    timeout = 10
    server_version = "ctdenoise"
    sys_version = ""

    def __init__(self, answers: Mapping[str, Callable[[], _Answer]], *arguments: Any) -> None:
        self._answers = answers
        super().__init__(*arguments)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        answer = self._answers.get(path)
        try:
            status, kind, text = answer() if answer else _UNKNOWN
        except Exception as error:  # a disk that fails, say
            LOG.error("%s: unexpected: %s", path, type(error).__name__)
            LOG.debug("%s", path, exc_info=True)
            status, kind, text = _FAILED
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """A line for each look would fill the log."""


def _health(health: Callable[[], Health]) -> Callable[[], _Answer]:
    def answer() -> _Answer:
        well, said = health()
        return (200 if well else 503), "application/json", json.dumps(said) + "\n"

    return answer


def _metrics(metrics: Callable[[], str]) -> Callable[[], _Answer]:
    return lambda: (200, "text/plain; version=0.0.4", metrics())
