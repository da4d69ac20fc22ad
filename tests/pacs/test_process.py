"""The node as a process that is killed, stopped, and started wrongly."""

from __future__ import annotations

import logging
import re
import signal
import socket
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ctdenoise.cli import main
from ctdenoise.pacs.settings import NodeSettings, Peer
from tests.conftest import assert_one_line
from tests.pacs.conftest import (
    Archive,
    SmallSeries,
    Start,
    associate,
    images,
    is_empty,
    send,
    wait_for,
)
from tests.pacs.process import NodeProcess, command

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
Series = Callable[..., SmallSeries]


@pytest.fixture
def process(settings: NodeSettings, small_model: Path, tmp_path: Path) -> Iterator[NodeProcess]:
    words = command(replace(settings, http_port=None), small_model)
    made = NodeProcess(words, tmp_path / "log")
    yield made
    made.close()


class Scanner(threading.Thread):
    """Sends series until each object was acknowledged; begins a series anew after a failure."""

    def __init__(self, settings: NodeSettings, sources: list[SmallSeries]) -> None:
        super().__init__()
        self.acknowledged: set[str] = set()
        self._settings = settings
        self._sources = sources

    def run(self) -> None:
        for source in self._sources:
            while not self._send(source):
                time.sleep(0.1)

    def _send(self, source: SmallSeries) -> bool:
        association = associate(self._settings, syntax="1.2.840.10008.1.2.1")
        for dataset in source.datasets:
            try:
                answer = association.send_c_store(dataset)
            except RuntimeError:  # the association has ended
                return False
            if "Status" not in answer:
                return False
            assert answer.Status == 0x0000
            self.acknowledged.add(str(dataset.SOPInstanceUID))
        association.release()
        return True


def test_killed_under_load_nothing_is_lost_and_nothing_made_twice(
    process: NodeProcess, settings: NodeSettings, archive: Archive, series: Series
) -> None:
    sources = [series(25) for _ in range(4)]
    process.start()
    scanner = Scanner(settings, sources)
    scanner.start()
    # In the midst of receiving, and while what came first is on its way back.
    wait_for(lambda: len(scanner.acknowledged) >= 30)
    process.end(signal.SIGKILL)
    process.start()
    wait_for(lambda: archive.got)
    process.end(signal.SIGKILL)
    process.start()
    scanner.join(120)
    assert len(scanner.acknowledged) == 100

    def sources_of_what_came() -> dict[str, set[str]]:
        made = defaultdict(set)
        for dataset in list(archive.got):
            made[str(dataset.SourceImageSequence[0].ReferencedSOPInstanceUID)].add(
                str(dataset.SOPInstanceUID)
            )
        return made

    wait_for(lambda: set(sources_of_what_came()) >= scanner.acknowledged)
    wait_for(lambda: is_empty(settings))
    assert process.end(signal.SIGTERM) == 0
    assert {len(derived) for derived in sources_of_what_came().values()} == {1}
    assert not list((settings.spool / "dead-letter").iterdir())
    assert "Traceback" not in process.said


def test_a_clean_shutdown_leaves_what_can_be_gone_on_with(
    process: NodeProcess, settings: NodeSettings, archive: Archive, series: Series, node: Start
) -> None:
    source = series(60, side=128)
    process.start()
    send(settings, source.datasets)
    wait_for(lambda: images(settings.spool / "denoising"))
    assert process.end(signal.SIGTERM) == 0
    finished = len(images(settings.spool / "denoising"))
    assert 0 < finished < 60
    assert not archive.got
    lines = process.said.splitlines()
    assert all(re.match(r"20\d\d-\d\d-\d\d [0-9:,]+ [A-Z]+ ", line) for line in lines)
    assert "stopped in it, goes on with the next start" in process.said
    assert str(source.datasets[0].PatientID) not in process.said
    node()
    wait_for(lambda: len(archive.of(source.uid)) == 60)
    # What was finished was not made again.
    assert len({(d.SeriesDate, d.SeriesTime) for d in archive.got}) == 1


@pytest.fixture
def serve(settings: NodeSettings, small_model: Path) -> Iterator[Callable[..., int]]:
    """The command in this process, and the signals and lines of the process as they were after."""
    log = logging.getLogger("ctdenoise")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def call(**changed: object) -> int:
        options = {
            "--port": settings.port,
            "--aet": "CTDENOISE",
            "--forward": settings.forward,
            "--model": small_model,
            "--spool": settings.spool,
            "--http-port": 0,
            **{f"--{name.replace('_', '-')}": value for name, value in changed.items()},
        }
        return main(["serve", *(str(word) for option in options.items() for word in option)])

    yield call
    log.handlers.clear()
    log.propagate = True
    log.setLevel(logging.NOTSET)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"forward": "ARCHIVE"}, "give AET@host:port"),
        ({"forward": "ARCHIVE@host:0"}, "give AET@host:port"),
        ({"aet": "MORE THAN SIXTEEN"}, "is no AE title"),
        ({"allow": "back\\slash"}, "is no AE title"),
        ({"strength": 2}, "--strength 2"),
    ],
)
def test_wrong_options_are_one_line(
    serve: Callable[..., int], capsys: pytest.CaptureFixture[str], changed: dict, said: str
) -> None:
    assert serve(**changed) == 2
    assert_one_line(capsys, said)


def test_a_port_that_is_taken_is_one_line(
    serve: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert serve(port=port) == 2
        assert_one_line(capsys, f"port {port}: cannot listen")
        assert serve(http_port=port) == 2
        assert_one_line(capsys, f"HTTP port {port}: cannot listen")


def test_a_spool_that_cannot_be_had_is_one_line(
    serve: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    assert serve(spool=tmp_path / "file") == 2
    assert_one_line(capsys, "cannot be created")
    (tmp_path / "mine" / "done").mkdir(parents=True)
    (tmp_path / "mine" / "done" / "thesis").write_text("")
    assert serve(spool=tmp_path / "mine") == 2
    assert_one_line(capsys, "holds something else")
    assert (tmp_path / "mine" / "done" / "thesis").exists()


def test_missing_packages_are_one_line(
    serve: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ctdenoise.pacs.node", None)
    assert serve() == 2
    assert_one_line(capsys, "pip install 'ctdenoise[pacs]'")


def test_a_peer_by_its_address() -> None:
    assert Peer.parse("A B@[::1]:104") == Peer("A B", "::1", 104)
