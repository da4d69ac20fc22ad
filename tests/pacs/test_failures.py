"""What cannot be denoised or sent: tried again, given up with a reason, and never lost."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless

from ctdenoise.errors import CTDenoiseError
from ctdenoise.pacs.names import digest
from ctdenoise.pacs.settings import NodeSettings, Peer
from ctdenoise.pacs.spool import Spool
from ctdenoise.run import RunSettings, series_folder
from ctdenoise.series import find
from tests.pacs.conftest import (
    Archive,
    SmallSeries,
    Start,
    dead_letters,
    free_port,
    full,
    reason_of,
    send,
    wait_for,
)

Series = Callable[..., SmallSeries]


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


def derived_of(settings: NodeSettings, source: SmallSeries) -> list[Path]:
    """What waits to be sent of a series, when all of it was denoised."""
    header = source.datasets[0]
    name = digest(header.StudyInstanceUID, header.SeriesInstanceUID)
    wait_for((settings.spool / "denoised" / name).exists)
    return sorted((settings.spool / "denoised" / name).rglob("*.dcm"))


def _damage(path: Path) -> None:
    path.write_bytes(b"no DICOM")


def _take_away(path: Path) -> None:
    path.unlink()
    try:
        path.symlink_to("nowhere")
    except OSError:
        pytest.skip("needs symbolic links")


@pytest.mark.parametrize(("spoil", "damaged"), [(_damage, 3), (_damage, 1), (_take_away, 3)])
def test_a_derived_file_that_cannot_be_read(
    node: Start,
    series: Series,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Path], None],
    damaged: int,
) -> None:
    peer = Archive(free_port())
    address = Peer("ARCHIVE", "127.0.0.1", peer.port)
    settings = node(forward=address, longest_delay=0.5)
    bad, good = series(), series()
    send(settings, bad.datasets)
    for path in derived_of(settings, bad)[:damaged]:
        spoil(path)
    send(settings, good.datasets)
    derived_of(settings, good)
    with peer.listening():
        wait_for(lambda: len(peer.of(good.uid)) == 3)
        wait_for(lambda: dead_letters(settings))
    assert len(peer.of(bad.uid)) == 3 - damaged
    (letter,) = dead_letters(settings)
    assert reason_of(letter)["stage"] == "sending"
    (reason,) = reason_of(letter)["reasons"]
    assert f": {damaged} objects: cannot be read from the spool: " in reason
    assert "unexpected" not in caplog.text
    # Without what cannot be read, it is made again.
    shutil.rmtree(letter / "derived")
    with peer.listening():
        node(forward=address, revive=True)
        wait_for(lambda: len({d.SOPInstanceUID for d in peer.of(bad.uid)}) == 3)


def test_a_derived_file_that_cannot_be_decompressed(node: Start, series: Series) -> None:
    peer = Archive(free_port())
    settings = node(
        run_settings=RunSettings(syntax=JPEGLSLossless),
        forward=Peer("ARCHIVE", "127.0.0.1", peer.port),
        longest_delay=0.5,
    )
    source = series()
    send(settings, source.datasets)
    path = derived_of(settings, source)[0]
    whole = path.read_bytes()
    begin = whole.index(b"\xff\xd8\xff")
    path.write_bytes(whole[: begin + 30] + bytes(len(whole) - begin - 30))
    with peer.listening([ExplicitVRLittleEndian]):
        wait_for(lambda: dead_letters(settings))
    (reason,) = reason_of(dead_letters(settings)[0])["reasons"]
    assert "1 objects: cannot be read from the spool" in reason
    assert len(peer.of(source.uid)) == 2


def test_a_disk_that_fails_in_the_midst_of_an_object(
    node: Start, archive: Archive, series: Series, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path, mode: str) -> BinaryIO:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    # The library reads the object itself when its request is on its way already.
    settings = node()
    source = series()
    with monkeypatch.context() as patched:
        patched.setattr("pynetdicom.dimse_messages.open", failing, raising=False)
        send(settings, source.datasets)
        wait_for(lambda: dead_letters(settings))
    (reason,) = reason_of(dead_letters(settings)[0])["reasons"]
    assert "1 objects: cannot be read from the spool: Input/output error" in reason
    good = series()
    send(settings, good.datasets)
    wait_for(lambda: len(archive.of(good.uid)) == 3)
    assert not archive.of(source.uid)
