"""Who may call, how many, and how associations end."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import pytest
from pydicom.uid import (
    ExplicitVRLittleEndian,
)

from ctdenoise.errors import CTDenoiseError
from tests.pacs.conftest import (
    Archive,
    SmallSeries,
    Start,
    associate,
    get,
    send,
    wait_for,
)

Series = Callable[..., SmallSeries]


def test_echo(node: Start) -> None:
    association = associate(node())
    assert association.send_c_echo().Status == 0x0000
    association.release()


@pytest.mark.parametrize(
    ("caller", "called", "answer", "said"),
    [
        ("STRANGER", "CTDENOISE", (1, 1, 3), "its AE title may not call"),
        ("SCANNER", "SOMEBODY", (1, 1, 7), "it calls SOMEBODY, which is not our AE title"),
    ],
)
def test_an_association_that_is_not_ours_is_rejected(
    node: Start,
    caplog: pytest.LogCaptureFixture,
    caller: str,
    called: str,
    answer: tuple[int, int, int],
    said: str,
) -> None:
    association = associate(node(), caller=caller, called=called)
    assert association.is_rejected
    rejection = association.acceptor.primitive
    assert (rejection.result, rejection.result_source, rejection.diagnostic) == answer
    wait_for(lambda: said in caplog.text)


def test_everybody_may_call_where_that_was_said(node: Start) -> None:
    association = associate(node(allow=frozenset({"*"})), caller="STRANGER")
    assert association.is_established
    association.release()


def test_nobody_is_not_everybody(node: Start) -> None:
    with pytest.raises(CTDenoiseError, match="nobody may call"):
        node(allow=frozenset())


def test_no_more_associations_than_allowed(node: Start) -> None:
    settings = node(max_associations=1)
    first = associate(settings)
    second = associate(settings)
    rejection = second.acceptor.primitive
    assert (rejection.result, rejection.result_source, rejection.diagnostic) == (2, 3, 2)
    first.release()


def test_connections_without_end_are_closed(
    node: Start, archive: Archive, series: Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctdenoise.pacs.receiver._NEGOTIATION_SECONDS", 2)
    monkeypatch.setattr("ctdenoise.pacs.receiver._MOST_REJECTED", 2)
    settings = node(max_associations=1)
    opened = [socket.create_connection(("127.0.0.1", settings.port)) for _ in range(6)]
    # The last of them, at the latest, is one too many.
    assert opened[-1].recv(1) == b""
    for connection in opened:
        connection.close()
    wait_for(lambda: json.loads(get(settings, "/health")[1])["associations"] == 0)
    assert send(settings, series().datasets) == [0x0000] * 3
    wait_for(lambda: len(archive.got) == 3)


@pytest.mark.parametrize("how", ["abort", "closed", "silent"])
def test_an_association_that_stops_half_way(
    node: Start, archive: Archive, series: Series, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    settings = node(idle_time=1.0)
    source = series()
    association = associate(settings, syntax=ExplicitVRLittleEndian)
    for dataset in source.datasets[:2]:
        assert association.send_c_store(dataset).Status == 0x0000
    # Half of a PDU, which promises more than comes.
    association.dul.socket.socket.sendall(b"\x04\x00\x00\x01\x00\x00" + bytes(100))
    if how == "abort":
        association.abort()
    elif how == "closed":
        association.dul.socket.socket.close()
    wait_for(lambda: len(archive.of(source.uid)) == 2)
    assert "broken off; 2 objects of it are kept" in caplog.text
    other = series()
    assert send(settings, other.datasets) == [0x0000] * 3
    wait_for(lambda: len(archive.of(other.uid)) == 3)


def test_a_length_that_is_not_believed(node: Start, series: Series, archive: Archive) -> None:
    settings = node()
    with socket.create_connection(("127.0.0.1", settings.port)) as attacker:
        attacker.sendall(b"\x01\x00\xff\xff\xff\xff" + bytes(1000))
        assert attacker.recv(1) == b""
    assert send(settings, series().datasets) == [0x0000] * 3
    wait_for(lambda: len(archive.got) == 3)
