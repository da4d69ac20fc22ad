"""``ctdenoise serve`` as a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from ctdenoise.pacs.settings import NodeSettings
from tests.conftest import ROOT
from tests.pacs.conftest import wait_for


class NodeProcess:
    """A node; :meth:`start` waits until it listens, and may be called again after an end."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._log = log
        self._command = [sys.executable, "-m", *command]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def said(self) -> str:
        return self._log.read_text()

    def start(self) -> None:
        before = self.said.count("sends to") if self._log.exists() else 0
        with self._log.open("a") as log:
            self._process = subprocess.Popen(self._command, stderr=log, cwd=ROOT)
        wait_for(lambda: self.said.count("sends to") > before or self._process.poll() is not None)
        assert self._process.poll() is None, self.said

    def end(self, number: signal.Signals) -> int:
        """Send a signal, and wait for the exit code."""
        self._process.send_signal(number)
        return self._process.wait(120)

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def command(settings: NodeSettings, model: Path) -> list[str]:
    """The command line for a node of some settings."""
    words = [
        *("ctdenoise", "serve", "--port", settings.port, "--aet", settings.aet),
        *("--forward", settings.forward, "--spool", settings.spool),
        *("--allow", *sorted(settings.allow)),
    ]
    return [str(word) for word in words] + for_a_test(settings, model)


def for_a_test(settings: NodeSettings, model: Path) -> list[str]:
    """Options that make a node quick, and leave the network alone."""
    words = [
        *("--host", settings.host, "--http-port", settings.http_port or 0),
        *("--quiet-time", settings.quiet_time, "--retry-delay", settings.retry_delay),
        *("--min-free-mb", 0, "--model", model, "--device", "cpu", "--threads", 1),
    ]
    return [str(word) for word in words]
