"""What cannot be denoised or sent: tried again, given up with a reason, and never lost."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from ctdenoise.errors import CTDenoiseError
from ctdenoise.pacs.settings import NodeSettings, Peer
from ctdenoise.pacs.spool import Spool, digest
from ctdenoise.run import series_folder
from ctdenoise.series import find
from tests.pacs.conftest import (
    Archive,
    SmallSeries,
    Start,
    associate,
    free_port,
    get,
    is_empty,
    send,
    wait_for,
)

Series = Callable[..., SmallSeries]


def dead_letters(settings: NodeSettings) -> list[Path]:
    return [path for path in (settings.spool / "dead-letter").iterdir() if path.name[0] != "."]


def reason_of(letter: Path) -> dict:
    return json.loads((letter / "reason.json").read_text())


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


def test_a_slice_that_cannot_be_decoded(node: Start, archive: Archive, series: Series) -> None:
    settings = node()
    source = series()
    datasets = source.datasets
    datasets[1].PixelData = datasets[1].PixelData[:1000]
    assert send(settings, datasets) == [0x0000] * 3
    wait_for(lambda: len(archive.of(source.uid)) == 2)
    wait_for(lambda: dead_letters(settings))
    (letter,) = dead_letters(settings)
    assert reason_of(letter)["stage"] == "denoising"
    assert "1 files could not be read" in reason_of(letter)["reasons"][0]
    assert len(list((letter / "source").glob("*.dcm"))) == 3


def test_a_series_that_cannot_be_denoised(node: Start, archive: Archive, series: Series) -> None:
    settings = node()
    bad, good = series(), series()
    datasets = bad.datasets
    for dataset in datasets:
        dataset.PixelData = dataset.PixelData[:1000]
    send(settings, datasets)
    send(settings, good.datasets)
    wait_for(lambda: len(archive.of(good.uid)) == 3)
    wait_for(lambda: dead_letters(settings))
    assert not archive.of(bad.uid)


def test_a_series_that_ends_the_process_is_given_up(
    node: Start, settings: NodeSettings, archive: Archive, series: Series
) -> None:
    settings = node(quiet_time=3600.0)
    bad, good = series(), series()
    send(settings, bad.datasets)
    (name,) = (path.name for path in (settings.spool / "incoming").iterdir())
    send(settings, good.datasets)
    # As processes leave it that are killed in the midst of it.
    (settings.spool / "denoising" / name).mkdir()
    (settings.spool / "denoising" / name / "tries").write_text(str(settings.retries))
    (settings.spool / "incoming" / name).rename(settings.spool / "ready" / name)
    wait_for(lambda: dead_letters(settings))
    settings = node(quiet_time=0.5)
    wait_for(lambda: len(archive.of(good.uid)) == 3)
    (letter,) = dead_letters(settings)
    assert "the process ended in it, 3 times" in reason_of(letter)["reasons"]
    assert not archive.of(bad.uid)


def test_a_spool_has_one_node(node: Start, settings: NodeSettings) -> None:
    node()
    with pytest.raises(CTDenoiseError, match="another node is using it"):
        Spool(settings.spool, remember=0.0)


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


def test_an_output_that_cannot_be_written(
    node: Start, archive: Archive, series: Series, caplog: pytest.LogCaptureFixture
) -> None:
    settings = node(retries=100)
    source = series()
    header = source.datasets[0]
    number = digest(header.StudyInstanceUID, header.SeriesInstanceUID)
    # Where the series' folder would be.
    (found,) = find(source.folder).series
    place = settings.spool / "denoising" / number / series_folder(found)
    place.parent.mkdir()
    place.write_text("in the way")
    send(settings, source.datasets)
    wait_for(lambda: caplog.text.count("cannot be written: File exists; tried again in") > 1)
    place.unlink()
    wait_for(lambda: len(archive.of(source.uid)) == 3)


def test_a_disk_that_is_full(
    node: Start,
    archive: Archive,
    series: Series,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    settings = node()
    source = series()
    with monkeypatch.context() as patched:
        patched.setattr("ctdenoise.pacs.spool.write_partial", full)
        assert send(settings, source.datasets) == [0xA700] * 3
    assert caplog.text.count("A700, cannot be stored: No space left on device") == 3
    with monkeypatch.context() as patched:
        patched.setattr("ctdenoise.pacs.spool.write", full)
        assert send(settings, source.datasets) == [0x0000] * 3
        wait_for(lambda: "denoising: unexpected: No space left on device" in caplog.text)
    wait_for(lambda: len(archive.of(source.uid)) == 3)


def test_a_fault_of_ours_is_an_answer(
    node: Start, archive: Archive, series: Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = node()
    source = series()
    with monkeypatch.context() as patched:
        patched.setattr("ctdenoise.pacs.receiver.examine", lambda *_, **__: 1 / 0)
        assert send(settings, source.datasets) == [0x0110] * 3
    assert send(settings, source.datasets) == [0x0000] * 3
    wait_for(lambda: len(archive.of(source.uid)) == 3)


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
