"""A node from end to end, with real sockets: what is stored comes back denoised."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    MRImageStorage,
)

from tests.conftest import Run
from tests.pacs.conftest import (
    Archive,
    SmallSeries,
    Start,
    associate,
    get,
    is_empty,
    send,
    wait_for,
)

Series = Callable[..., SmallSeries]


def test_what_is_stored_comes_back_as_a_run_makes_it(
    node: Start, archive: Archive, series: Series, run: Run, tmp_path: Path
) -> None:
    source = series()
    assert send(node(), source.datasets) == [0x0000] * 3
    wait_for(lambda: len(archive.got) == 3)
    assert run(source.folder) == 0
    expected = [pydicom.dcmread(path) for path in sorted((tmp_path / "out").rglob("*.dcm"))]
    for ours, theirs in zip(archive.of(source.uid), expected, strict=True):
        assert ours.SOPInstanceUID == theirs.SOPInstanceUID
        assert ours.SeriesInstanceUID == theirs.SeriesInstanceUID
        assert ours.PixelData == theirs.PixelData
        assert ours.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert archive.of(source.uid)[0].PixelData != source.datasets[0].PixelData


def test_the_spool_is_empty_after_it_and_closed_to_others(
    node: Start, archive: Archive, series: Series
) -> None:
    settings = node()
    send(settings, series().datasets)
    wait_for(lambda: len(archive.got) == 3)
    wait_for(lambda: is_empty(settings))
    assert settings.spool.stat().st_mode & 0o077 == 0


def test_what_is_not_ct_is_not_negotiated_and_ct_goes_on(
    node: Start, archive: Archive, series: Series, caplog: pytest.LogCaptureFixture
) -> None:
    association = associate(node(), syntax=ExplicitVRLittleEndian)
    magnetic, *slices = series().datasets
    magnetic.SOPClassUID = magnetic.file_meta.MediaStorageSOPClassUID = MRImageStorage
    with pytest.raises(ValueError, match="No presentation context"):
        association.send_c_store(magnetic)
    assert [association.send_c_store(dataset).Status for dataset in slices] == [0x0000] * 2
    association.release()
    wait_for(lambda: len(archive.got) == 2)
    assert "not taken from SCANNER at 127.0.0.1: MR Image Storage" in caplog.text


def _other_class(dataset: Dataset) -> None:
    dataset.SOPClassUID = MRImageStorage


def _other_instance(dataset: Dataset) -> None:
    dataset.SOPInstanceUID += ".1"


def _no_series(dataset: Dataset) -> None:
    del dataset.SeriesInstanceUID


def _no_uid(dataset: Dataset) -> None:
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "../etc/passwd"


def _large(dataset: Dataset) -> None:
    dataset.PixelData = bytes(3 * 2**20)


@pytest.mark.parametrize(
    ("spoil", "status"),
    [
        (_other_class, 0xA900),
        (_other_instance, 0xA900),
        (_no_series, 0xA900),
        (_no_uid, 0x0117),
        (_large, 0xA700),
    ],
)
def test_what_is_refused_does_not_stop_the_others(
    node: Start,
    archive: Archive,
    series: Series,
    caplog: pytest.LogCaptureFixture,
    spoil: Callable[[Dataset], None],
    status: int,
    tmp_path: Path,
) -> None:
    settings = node(max_object_bytes=2**20)
    source = series()
    spoiled = source.datasets[1]
    spoil(spoiled)
    # As a file, it is sent as it is, whatever the request says of it.
    spoiled.save_as(tmp_path / "spoiled.dcm", enforce_file_format=False)
    files = [source.files[0], tmp_path / "spoiled.dcm", source.files[2]]
    association = associate(settings, syntax=ExplicitVRLittleEndian)
    answers = [association.send_c_store(path) for path in files]
    assert [answer.Status for answer in answers] == [0x0000, status, 0x0000]
    assert answers[1].ErrorComment
    association.release()
    wait_for(lambda: len(archive.of(source.uid)) == 2)
    lines = [line for line in caplog.text.splitlines() if "refused" in line]
    assert len(lines) == 1
    assert f"{status:04X}, {answers[1].ErrorComment}" in lines[0]
    assert "PatientName" not in caplog.text


def test_damage_and_bombs_are_refused(node: Start, series: Series, tmp_path: Path) -> None:
    settings = node(max_object_bytes=2**20)
    (source, damaged, bomb) = series().datasets
    damaged.save_as(tmp_path / "damaged.dcm")
    start = pydicom.filereader.read_file_meta_info(tmp_path / "damaged.dcm")
    begin = 132 + 12 + start.FileMetaInformationGroupLength
    whole = (tmp_path / "damaged.dcm").read_bytes()
    (tmp_path / "damaged.dcm").write_bytes(whole[:begin] + b"\x08\x00\x05\x00??" + bytes(999))
    association = associate(settings, syntax=ExplicitVRLittleEndian)
    assert association.send_c_store(tmp_path / "damaged.dcm").Status in (0xC000, 0xA900)
    assert association.send_c_store(source).Status == 0x0000
    association.release()
    bomb.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    bomb.PixelData = bytes(50 * 2**20)
    bomb.save_as(tmp_path / "bomb.dcm")
    assert (tmp_path / "bomb.dcm").stat().st_size < 2**20
    association = associate(settings, syntax=DeflatedExplicitVRLittleEndian)
    assert association.send_c_store(tmp_path / "bomb.dcm").Status == 0xA700
    association.release()


def test_an_object_that_comes_again(
    node: Start, archive: Archive, series: Series, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings = node()
    source = series()
    assert send(settings, source.datasets) == [0x0000] * 3
    assert send(settings, source.datasets) == [0x0000] * 3
    wait_for(lambda: len(archive.got) == 3 and is_empty(settings))
    # Also when all is done, and after a restart: the answer to the first may have been lost.
    settings = node()
    other = source.datasets
    other[1].PixelData = bytes(len(other[1].PixelData))
    assert send(settings, other) == [0x0000, 0x0111, 0x0000]
    late = series(1)
    assert send(settings, late.datasets) == [0x0000]
    wait_for(lambda: archive.of(late.uid))
    assert len(archive.of(source.uid)) == 3
    # It is denoised again only where that was asked for, and has the UIDs that it had.
    settings = node(remember=0.0)
    assert send(settings, source.datasets) == [0x0000] * 3
    wait_for(lambda: len(archive.of(source.uid)) == 6)
    assert len({dataset.SOPInstanceUID for dataset in archive.of(source.uid)}) == 3


def test_our_own_series_are_not_denoised_again(
    node: Start, archive: Archive, series: Series, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings = node()
    send(settings, series().datasets)
    wait_for(lambda: len(archive.got) == 3)
    # An archive that routes everything on sends it back.
    assert send(settings, list(archive.got)) == [0x0000] * 3
    wait_for(lambda: "already denoised by ctdenoise" in caplog.text)
    wait_for(lambda: is_empty(settings))
    assert len(archive.got) == 3
    assert not list((settings.spool / "dead-letter").iterdir())


def test_health_and_metrics(node: Start, archive: Archive, series: Series) -> None:
    settings = node()
    source = series()
    send(settings, source.datasets)
    associate(settings, caller="STRANGER")
    wait_for(lambda: len(archive.got) == 3 and is_empty(settings))
    status, text = get(settings, "/health")
    health = json.loads(text)
    assert (status, health["status"], health["peer"], health["dead_letters"]) == (
        200,
        "ok",
        "ok",
        0,
    )
    assert health["queue"] == {"incoming": 0, "ready": 0, "denoised": 0}
    status, text = get(settings, "/metrics")
    assert status == 200
    lines = text.splitlines()
    for line in (
        "ctdenoise_received_total 3",
        "ctdenoise_slices_denoised_total 3",
        "ctdenoise_sent_total 3",
        "ctdenoise_series_sent_total 1",
        'ctdenoise_associations_rejected_total{reason="calling"} 1',
        'ctdenoise_queue{stage="incoming"} 0',
        "ctdenoise_dead_letters 0",
        "ctdenoise_peer_away 0",
    ):
        assert line in lines
    for line in lines:
        assert re.fullmatch(
            r"# (HELP|TYPE) ctdenoise_.+|ctdenoise_\w+(\{[^}]+\})? [0-9.e+-]+", line
        )
    for word in (str(source.datasets[0].PatientID), source.uid):
        assert word not in text
    assert get(settings, "/other")[0] == 404


def test_a_full_disk_is_said_and_nothing_accepted(
    node: Start, series: Series, archive: Archive
) -> None:
    settings = node(min_free_bytes=2**60)
    assert send(settings, series().datasets) == [0xA700] * 3
    status, text = get(settings, "/health")
    assert (status, json.loads(text)["status"]) == (503, "the disk is full")
