"""What watches the node: hears of what goes wrong, and is no trouble itself."""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
from collections.abc import Callable

import pytest

from tests.pacs.conftest import Archive, SmallSeries, Start, full, get, send, wait_for

Series = Callable[..., SmallSeries]


def test_a_client_that_hangs_up_is_no_traceback(
    node: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = node()
    for request in (b"GET /hea", b"GET /metrics HTTP/1.0\r\n\r\n"):
        client = socket.create_connection(("127.0.0.1", settings.http_port))
        client.sendall(request)
        # It is reset when it is closed.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    # Connections are taken one after the other.
    assert get(settings, "/health")[0] == 200
    wait_for(lambda: not any("process_request" in one.name for one in threading.enumerate()))
    assert capsys.readouterr().err == ""


def test_a_fault_in_an_answer_is_one_line(
    node: Start,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = node()
    with monkeypatch.context() as patched:
        patched.setattr("ctdenoise.pacs.spool.Spool.denoised", lambda _: 1 / 0)
        assert get(settings, "/health")[0] == 500
    assert caplog.text.count("/health: unexpected: ZeroDivisionError") == 1
    assert get(settings, "/health")[0] == 200
    assert capsys.readouterr().err == ""


def test_denoising_that_fails_at_every_turn(
    node: Start, archive: Archive, series: Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = node()
    source = series()
    with monkeypatch.context() as patched:
        patched.setattr("ctdenoise.pacs.spool.write", full)
        send(settings, source.datasets)
        wait_for(lambda: get(settings, "/health")[0] == 503)
        assert json.loads(get(settings, "/health")[1])["status"] == "denoising fails"
    wait_for(lambda: len(archive.of(source.uid)) == 3)
    wait_for(lambda: get(settings, "/health")[0] == 200)


def test_a_listener_that_has_ended(node: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = node()
    assert get(settings, "/health")[0] == 200
    with monkeypatch.context() as patched:
        patched.setattr("pynetdicom.transport.AssociationServer.service_actions", sys.exit)
        wait_for(lambda: get(settings, "/health")[0] == 503)
    assert json.loads(get(settings, "/health")[1])["status"] == "receiving has ended"
