"""A node, the peer that it sends to, and those who send to it, on loopback."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from socketserver import BaseServer

import pydicom
import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (
    CTImageStorage,
    EnhancedCTImageStorage,
    MRImageStorage,
    Verification,
)

from ctdenoise.denoiser import Denoiser
from ctdenoise.models.registry import load
from ctdenoise.pacs.node import Node
from ctdenoise.pacs.settings import NodeSettings, Peer
from ctdenoise.run import RunSettings
from tests.made import make

AET = "CTDENOISE"
CALLER = "SCANNER"


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        return int(opened.getsockname()[1])


def wait_for(what: Callable[[], object], seconds: float = 120.0) -> None:
    """Wait until ``what`` gives something true."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.05)


def full(*_: object, **__: object) -> None:
    """In the place of what writes: the disk is full."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def images(folder: Path) -> list[str]:
    """Names of the images below a folder, which a node may be moving about just now."""
    found = [name for *_, names in os.walk(folder) for name in names]
    return [name for name in found if name.endswith(".dcm") and name[0] != "."]


def is_empty(settings: NodeSettings) -> bool:
    """Whether no image is left in the spool of a node."""
    return not images(settings.spool)


@dataclass
class Archive:
    """A peer that keeps what it gets; ``answer`` gives the status for each dataset."""

    port: int
    answer: Callable[[Dataset], int] = lambda dataset: 0x0000
    breaks_off: bool = False
    got: list[Dataset] = field(default_factory=list)

    @contextmanager
    def listening(self, syntaxes: list[str] | None = None) -> Iterator[Archive]:
        ae = AE("ARCHIVE")
        ae.require_called_aet = True
        for sop_class in (CTImageStorage, EnhancedCTImageStorage):
            ae.add_supported_context(sop_class, *([syntaxes] if syntaxes else []))
        handlers = [(evt.EVT_C_STORE, self._take)]
        ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        try:
            yield self
        finally:
            ae.shutdown()

    def of(self, series: str) -> list[Dataset]:
        """What was derived from a series of :func:`series`, in the order of its slices."""
        found = [d for d in self.got if _source(d).startswith(series)]
        return sorted(found, key=lambda d: float(d.ImagePositionPatient[2]))

    def _take(self, event: evt.Event) -> int:
        if self.breaks_off:
            event.assoc.abort()
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        status = self.answer(dataset)
        if status == 0x0000 or status >> 12 == 0xB:
            self.got.append(dataset)
        return status


def _source(dataset: Dataset) -> str:
    return str(dataset.SourceImageSequence[0].ReferencedSOPInstanceUID)


@pytest.fixture(scope="package", autouse=True)
def _quick_servers() -> Iterator[None]:
    """Servers look twice a second whether they are to end: too slow for many tests."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(BaseServer.serve_forever, "__defaults__", (0.02,))
        yield


@pytest.fixture
def archive() -> Iterator[Archive]:
    with Archive(free_port()).listening() as listening:
        yield listening


@pytest.fixture(scope="session")
def denoiser(small_model: Path) -> Denoiser:
    return Denoiser(load(str(small_model)), device="cpu", threads=1)


@pytest.fixture
def settings(tmp_path: Path, archive: Archive) -> NodeSettings:
    return NodeSettings(
        aet=AET,
        host="127.0.0.1",
        port=free_port(),
        forward=Peer("ARCHIVE", "127.0.0.1", archive.port),
        allow=frozenset({CALLER}),
        spool=tmp_path / "spool",
        quiet_time=0.2,
        retries=3,
        retry_delay=0.1,
        min_free_bytes=0,
        http_port=free_port(),
    )


_AS_IT_IS = RunSettings()
Start = Callable[..., NodeSettings]


@pytest.fixture
def node(settings: NodeSettings, denoiser: Denoiser) -> Iterator[Start]:
    """Starts a node with some settings changed; it is shut down at the end, or by a second one."""
    running: list[tuple[threading.Event, threading.Thread]] = []

    def stop() -> None:
        for event, thread in running:
            event.set()
            thread.join()
        running.clear()

    def start(
        *, revive: bool = False, run_settings: RunSettings = _AS_IT_IS, **changed: object
    ) -> NodeSettings:
        stop()
        chosen = replace(settings, **changed)
        event = threading.Event()
        made = Node(chosen, denoiser, run_settings, event, revive=revive)
        thread = threading.Thread(target=made.work)
        thread.start()
        running.append((event, thread))
        return chosen

    yield start
    stop()


@dataclass
class SmallSeries:
    """Files of a series; ``uid`` begins the SOP Instance UID of each."""

    uid: str
    folder: Path

    @property
    def files(self) -> list[Path]:
        return sorted(self.folder.glob("*.dcm"))

    @property
    def datasets(self) -> list[Dataset]:
        return [pydicom.dcmread(path) for path in self.files]


@pytest.fixture
def series(tmp_path: Path) -> Callable[..., SmallSeries]:
    """Makes CT series of small slices."""
    count = 0

    def made(slices: int = 3, side: int = 64) -> SmallSeries:
        nonlocal count
        count += 1
        folder = make("series", tmp_path / f"source-{count}", slices, side)
        header = pydicom.dcmread(folder / "0000.dcm", stop_before_pixels=True)
        return SmallSeries(str(header.SOPInstanceUID).rpartition(".")[0], folder)

    return made


def associate(settings: NodeSettings, *, caller: str = CALLER, called: str = AET, syntax: str = ""):
    """An association with a node, for CT, enhanced CT and MR."""
    contexts = [build_context(Verification)]
    for sop_class in (CTImageStorage, EnhancedCTImageStorage, MRImageStorage):
        contexts.append(build_context(sop_class, *([syntax] if syntax else [])))
    ae = AE(caller)
    return ae.associate("127.0.0.1", settings.port, contexts=contexts, ae_title=called)


def send(settings: NodeSettings, datasets: list[Dataset]) -> list[int]:
    """Store datasets at a node, in one association; gives the statuses."""
    syntax = str(datasets[0].file_meta.TransferSyntaxUID)
    association = associate(settings, syntax=syntax)
    assert association.is_established
    try:
        return [association.send_c_store(dataset).Status for dataset in datasets]
    finally:
        association.release()


def get(settings: NodeSettings, path: str) -> tuple[int, str]:
    """Status and text of what a node says over HTTP."""
    url = f"http://127.0.0.1:{settings.http_port}{path}"
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def dead_letters(settings: NodeSettings) -> list[Path]:
    return [path for path in (settings.spool / "dead-letter").iterdir() if path.name[0] != "."]


def reason_of(letter: Path) -> dict:
    return json.loads((letter / "reason.json").read_text())
