"""Peers that refuse, are away, break off or are silent: nothing is lost by them."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from ctdenoise.pacs.settings import Peer
from tests.pacs.conftest import (
    Archive,
    SmallSeries,
    Start,
    associate,
    dead_letters,
    free_port,
    get,
    is_empty,
    reason_of,
    send,
    wait_for,
)

Series = Callable[..., SmallSeries]


def test_a_peer_that_refuses(
    node: Start, archive: Archive, series: Series, caplog: pytest.LogCaptureFixture
) -> None:
    refused: list[str] = []
    bad, good = series(), series()

    def answer(dataset: Dataset) -> int:
        # One slice of one series.
        source = dataset.SourceImageSequence[0].ReferencedSOPInstanceUID
        if source == f"{bad.uid}.1":
            refused.append(dataset.SOPInstanceUID)
            return 0xC123
        return 0x0000

    archive.answer = answer
    settings = node()
    send(settings, bad.datasets)
    send(settings, good.datasets)
    wait_for(lambda: dead_letters(settings))
    wait_for(lambda: len(archive.of(good.uid)) == 3)
    assert len(archive.of(bad.uid)) == 2
    assert len(refused) == settings.retries
    assert len(set(refused)) == 1
    (letter,) = dead_letters(settings)
    reason = reason_of(letter)
    assert reason["stage"] == "sending"
    assert "refused with status C123" in reason["reasons"][0]
    assert reason["series_uid"] == bad.datasets[0].SeriesInstanceUID
    assert str(bad.datasets[0].PatientID) not in json.dumps(reason)
    assert len(list((letter / "source").glob("*.dcm"))) == 3
    assert len(list((letter / "derived").rglob("*.dcm"))) == 1
    assert sum("given up" in line for line in caplog.text.splitlines()) == 1
    metrics = get(settings, "/metrics")[1]
    assert 'ctdenoise_last_error_timestamp_seconds{stage="sending",kind="C123"} 1' in metrics
    assert "ctdenoise_dead_letters 1" in metrics

    # Somebody has seen to it.
    archive.answer = lambda dataset: 0x0000
    settings = node(revive=True)
    wait_for(lambda: len(archive.of(bad.uid)) == 3)
    wait_for(lambda: is_empty(settings))
    assert not dead_letters(settings)


def test_a_warning_is_stored(node: Start, archive: Archive, series: Series) -> None:
    archive.answer = lambda dataset: 0xB000
    settings = node()
    send(settings, series().datasets)
    wait_for(lambda: len(archive.got) == 3 and is_empty(settings))
    assert not dead_letters(settings)


def test_a_peer_that_is_away_is_waited_for(
    node: Start, series: Series, caplog: pytest.LogCaptureFixture
) -> None:
    peer = Archive(free_port())
    settings = node(forward=Peer("ARCHIVE", "127.0.0.1", peer.port), retries=1)
    source = series()
    send(settings, source.datasets)
    wait_for(lambda: caplog.text.count("cannot be reached; tried again in") >= 3)
    assert not dead_letters(settings)
    with peer.listening():
        wait_for(lambda: len(peer.of(source.uid)) == 3)


def test_a_peer_that_rejects_us(node: Start, archive: Archive, series: Series) -> None:
    settings = node(forward=Peer("SOMEBODY", "127.0.0.1", archive.port))
    send(settings, series().datasets)
    wait_for(lambda: dead_letters(settings))
    (reason,) = reason_of(dead_letters(settings)[0])["reasons"]
    assert "rejects the association: Called AE title not recognised" in reason


def test_a_peer_that_takes_no_ct(node: Start, series: Series) -> None:
    with Archive(free_port()).listening(["1.2.840.10008.1.2.4.50"]) as peer:
        settings = node(forward=Peer("ARCHIVE", "127.0.0.1", peer.port))
        send(settings, series().datasets)
        wait_for(lambda: dead_letters(settings))
    (reason,) = reason_of(dead_letters(settings)[0])["reasons"]
    assert "takes none of our presentation contexts" in reason


def test_a_peer_that_has_no_address(
    node: Start, series: Series, caplog: pytest.LogCaptureFixture
) -> None:
    settings = node(forward=Peer("ARCHIVE", "nobody.invalid", 104))
    send(settings, series().datasets)
    wait_for(lambda: "ARCHIVE@nobody.invalid:104 cannot be reached: " in caplog.text)
    assert not dead_letters(settings)


def test_a_peer_that_breaks_off(node: Start, archive: Archive, series: Series) -> None:
    archive.breaks_off = True
    settings = node()
    source = series()
    send(settings, source.datasets)
    wait_for(lambda: dead_letters(settings))
    assert "the association was broken off" in reason_of(dead_letters(settings)[0])["reasons"][0]
    archive.breaks_off = False
    node(revive=True)
    wait_for(lambda: len(archive.of(source.uid)) == 3)


def test_a_peer_that_breaks_off_but_gets_on(node: Start, archive: Archive, series: Series) -> None:
    count = 0

    def answer(dataset: Dataset) -> int:
        nonlocal count
        count += 1
        # One object an association, of more than there are tries.
        archive.breaks_off = count % 2 == 1
        return 0x0000

    archive.answer = answer
    settings = node()
    source = series(6)
    send(settings, source.datasets)
    wait_for(lambda: is_empty(settings))
    assert len({dataset.SOPInstanceUID for dataset in archive.of(source.uid)}) == 6
    assert not dead_letters(settings)


def test_an_association_that_stays_open_when_the_node_stops(
    node: Start, archive: Archive, series: Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctdenoise.pacs.node._GRACE_SECONDS", 0.2)
    settings = node()
    source = series()
    association = associate(settings, syntax=ExplicitVRLittleEndian)
    silent = socket.create_connection(("127.0.0.1", settings.port))
    assert association.send_c_store(source.datasets[0]).Status == 0x0000
    node()
    wait_for(lambda: association.is_aborted)
    assert silent.recv(1) == b""
    wait_for(lambda: len(archive.of(source.uid)) == 1)


def test_a_peer_that_does_not_answer_does_not_keep_the_node(
    node: Start, archive: Archive, series: Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctdenoise.pacs.node._GRACE_SECONDS", 0.2)
    asked, answers = threading.Event(), threading.Event()
    answered: list[str] = []

    def answer(dataset: Dataset) -> int:
        asked.set()
        answers.wait(120)
        answered.append(dataset.SOPInstanceUID)
        return 0x0000

    archive.answer = answer
    settings = node()
    source = series()
    send(settings, source.datasets)
    assert asked.wait(120)
    node()
    assert not answered
    answers.set()
    assert not dead_letters(settings)
    wait_for(lambda: is_empty(settings))
    assert len({dataset.SOPInstanceUID for dataset in archive.of(source.uid)}) == 3


def test_an_object_that_the_peer_has_already(node: Start, archive: Archive, series: Series) -> None:
    def answer(dataset: Dataset) -> int:
        archive.breaks_off = False
        stored = {known.SOPInstanceUID for known in archive.got}
        return 0x0111 if dataset.SOPInstanceUID in stored else 0x0000

    # It stores the first, and the answer is lost.
    archive.breaks_off, archive.answer = True, answer
    settings = node()
    source = series()
    send(settings, source.datasets)
    wait_for(lambda: dead_letters(settings) or (len(archive.got) == 3 and is_empty(settings)))
    assert not dead_letters(settings)
    assert len(archive.of(source.uid)) == 3
