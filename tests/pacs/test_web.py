"""Retrieval through DICOMweb, from a real Orthanc and from servers that are up to no good."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pydicom
import pytest

from ctdenoise.cli import main
from ctdenoise.derived.lock import LOCK_NAME
from ctdenoise.errors import CTDenoiseError
from ctdenoise.pacs.settings import NodeSettings, Peer
from ctdenoise.pacs.web import fetch, fetched
from tests.conftest import ROOT, Run, assert_one_line
from tests.pacs.conftest import SmallSeries, free_port, full, images, send, wait_for
from tests.pacs.orthanc import DICOMWEB, binary, documented_command, running

Series = Callable[..., SmallSeries]
TOKEN = "CTDENOISE_DICOMWEB_TOKEN"


def with_dicomweb() -> None:
    """Skips the test where Orthanc has no DICOMweb."""
    binary()
    if not DICOMWEB.exists():
        pytest.skip("needs Orthanc's plugin for DICOMweb: apt-get install orthanc-dicomweb")


def test_a_run_with_a_series_of_orthanc(
    series: Series,
    run: Run,
    small_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with_dicomweb()
    source = series()
    header = source.datasets[0]
    assert run(source.folder, "--output", tmp_path / "expected") == 0
    with running(tmp_path / "orthanc", free_port()) as orthanc:
        peer = Peer("ORTHANC", "127.0.0.1", orthanc.dicom_port)
        send(
            NodeSettings(
                aet="ORTHANC", port=peer.port, forward=peer, spool=Path(), allow=frozenset()
            ),
            source.datasets,
        )
        service = f"dicomweb+{orthanc.url}/dicom-web"
        url = f"{service}/studies/{header.StudyInstanceUID}/series/{header.SeriesInstanceUID}"
        documented = "dicomweb+https://pacs.example/dicom-web/studies/STUDY/series/SERIES"
        words = documented_command("run", {documented: url, "out/": tmp_path / "out"})
        words += ["--model", str(small_model), "--report", str(tmp_path / "report.json")]
        assert main(words[1:]) == 0
        capsys.readouterr()
        assert run(f"{url}.1", "--output", tmp_path / "other") == 2
    assert_one_line(capsys, "no such study or series")
    expected = sorted((tmp_path / "expected").rglob("*.dcm"))
    got = sorted((tmp_path / "out").rglob("*.dcm"))
    for ours, theirs in zip(got, expected, strict=True):
        assert pydicom.dcmread(ours).SOPInstanceUID == pydicom.dcmread(theirs).SOPInstanceUID
        assert pydicom.dcmread(ours).PixelData == pydicom.dcmread(theirs).PixelData
    # What was retrieved is gone, and the report names no more of where it was than the UIDs.
    assert [path.name for path in (tmp_path / "out").iterdir()] == [got[0].parent.name]
    assert not list((tmp_path / "other").iterdir())
    text = (tmp_path / "report.json").read_text()
    assert json.loads(text)["retrieved"] == {
        "study_uid": header.StudyInstanceUID,
        "series_uid": header.SeriesInstanceUID,
    }
    assert "127.0.0.1" not in text


def test_a_run_with_a_bad_address_is_one_line(
    run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for url, said in (
        ("dicomweb+http://127.0.0.1:1/studies/1.2", "http://127.0.0.1:1: cannot be reached"),
        ("dicomweb+http://127.0.0.1:1/studies/MY-STUDY", "no study or series of a DICOMweb"),
        ("http://me:secret@127.0.0.1:1/studies/1.2", "no study or series of a DICOMweb"),
    ):
        assert run(url) == 2
        assert_one_line(capsys, said)
    monkeypatch.setitem(sys.modules, "dicomweb_client", None)
    assert run("dicomweb+http://127.0.0.1:1/studies/1.2") == 2
    assert_one_line(capsys, "pip install 'ctdenoise[pacs]'")


def test_a_series_and_a_study_from_orthanc(series: Series, tmp_path: Path) -> None:
    with_dicomweb()
    first, second = series(), series(2)
    (study,) = {dataset.StudyInstanceUID for dataset in first.datasets + second.datasets}
    with running(tmp_path / "orthanc", free_port(), users={"me": "pass word"}) as orthanc:
        peer = Peer("ORTHANC", "127.0.0.1", orthanc.dicom_port)
        settings = NodeSettings(
            aet="ORTHANC", port=peer.port, forward=peer, spool=Path(), allow=frozenset()
        )
        for source in (first, second):
            send(settings, source.datasets)
        url = orthanc.url.replace("//", "//me:pass%20word@") + f"/dicom-web/studies/{study}"
        for resource, sources in (
            (f"/series/{first.datasets[0].SeriesInstanceUID}", [first]),
            ("", [first, second]),
        ):
            folder = tmp_path / f"got{len(sources)}"
            folder.mkdir()
            fetch(f"dicomweb+{url}{resource}", folder)
            got = {d.SOPInstanceUID: d for d in map(pydicom.dcmread, folder.iterdir())}
            sent = [dataset for source in sources for dataset in source.datasets]
            assert len(got) == len(sent)
            for dataset in sent:
                assert got[dataset.SOPInstanceUID].PixelData == dataset.PixelData
        with pytest.raises(CTDenoiseError, match="not authorised: set CTDENOISE_DICOMWEB_TOKEN"):
            fetch(f"dicomweb+{orthanc.url}/dicom-web/studies/{study}", tmp_path)
        with pytest.raises(CTDenoiseError, match="no such study or series"):
            fetch(f"dicomweb+{url}.1", tmp_path)


class Server(BaseHTTPRequestHandler):
    """Answers with what a test says, and notes who asks."""

    status = 200
    kind = "text/html"
    body = b""
    missing = 0
    holds: threading.Event | None = None
    asked: str | None = None

    def do_GET(self) -> None:
        type(self).asked = self.headers.get("Authorization")
        self.send_response(self.status)
        self.send_header("Content-Type", self.kind)
        # More than comes, if the body is to be cut short.
        self.send_header("Content-Length", str(len(self.body) + self.missing))
        self.end_headers()
        self.wfile.write(self.body)
        if self.holds is not None:
            self.holds.wait(240)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[type[Server], str]]:
    class Handler(Server):
        pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield Handler, f"127.0.0.1:{listening.server_address[1]}/rs/studies/1.2"
    listening.shutdown()
    listening.server_close()


MULTIPART = 'multipart/related; type="application/dicom"; boundary=b'


@pytest.mark.parametrize(
    ("status", "kind", "body", "said"),
    [
        (200, "text/html", b"<html>", "sends what cannot be read"),
        (200, MULTIPART, b"--b\r\n\r\nno dicom\r\n--b--\r\n", "sends what cannot be read"),
        (200, MULTIPART, b"\r\n--b--\r\n", "sends no objects"),
        (206, MULTIPART, b"\r\n--b--\r\n", "sends only a part"),
        (403, "text/html", b"", "not allowed with these credentials"),
        (503, "text/html", b"", "answers with HTTP status 503"),
    ],
)
def test_bad_answers_are_one_line_without_the_password(
    server: tuple[type[Server], str],
    tmp_path: Path,
    status: int,
    kind: str,
    body: bytes,
    said: str,
) -> None:
    handler, where = server
    handler.status, handler.kind, handler.body = status, kind, body
    with pytest.raises(CTDenoiseError, match=said) as raised:
        fetch(f"dicomweb+http://me:secret@{where}", tmp_path)
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)
    assert handler.asked == "Basic " + base64.b64encode(b"me:secret").decode()


def test_a_connection_that_is_broken_off(server: tuple[type[Server], str], tmp_path: Path) -> None:
    handler, where = server
    handler.kind, handler.body, handler.missing = MULTIPART, b"--b\r\n\r\n", 1000
    with pytest.raises(CTDenoiseError, match="the connection was broken off"):
        fetch(f"dicomweb+http://{where}", tmp_path)


def test_what_a_killed_run_retrieved_is_removed_by_the_next(
    server: tuple[type[Server], str], series: Series, small_model: Path, tmp_path: Path
) -> None:
    handler, where = server
    url, output = f"dicomweb+http://{where}", tmp_path / "out"
    part = b"--b\r\nContent-Type: application/dicom\r\n\r\n"
    whole = b"\r\n".join(part + path.read_bytes() for path in series().files)
    # A part that never ends comes after those, and is waited for.
    handler.kind, handler.body = MULTIPART, whole + b"\r\n" + part + bytes(4 * 2**20)
    handler.missing = 10**9
    handler.holds = threading.Event()
    command = [sys.executable, "-m", "ctdenoise", "run", "--input", url, "--output", output]
    with subprocess.Popen([*map(str, command), "--model", str(small_model)], cwd=ROOT) as process:
        try:
            wait_for(lambda: len(images(output)) == 3 or process.poll() is not None)
        finally:
            process.kill()
    handler.holds.set()
    assert len(images(output)) == 3
    left, lock = sorted(output.iterdir())
    assert lock.name == f"{left.name}{LOCK_NAME}"
    assert os.name != "posix" or left.stat().st_mode & 0o077 == 0

    handler.body, handler.missing = whole + b"\r\n--b--\r\n", 0
    # Also by one that retrieves nothing.
    nothing = ["run", "--input", str(tmp_path / "nothing"), "--output", str(output)]
    assert main(nothing) == 2
    assert not left.exists()
    with fetched(url, output) as used:
        with fetched(url, output) as other:
            assert len(images(used)) == len(images(other)) == 3
        assert len(images(used)) == 3
    assert list(output.iterdir()) == []


@pytest.mark.parametrize("what", ["ctdenoise.temporary.FolderLock", "ctdenoise.pacs.web._save"])
def test_an_output_that_cannot_be_written_is_said_without_its_path(
    server: tuple[type[Server], str],
    series: Series,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    handler, where = server
    content = series(1).files[0].read_bytes()
    part = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + content
    handler.kind, handler.body = MULTIPART, part + b"\r\n--b--\r\n"
    monkeypatch.setattr(what, full)
    output = tmp_path / "DOE^JOHN"
    with pytest.raises(CTDenoiseError) as raised, fetched(f"dicomweb+http://{where}", output):
        pass
    assert str(raised.value) == "the output folder cannot be written: No space left on device"
    assert list(output.iterdir()) == []


def test_a_token_from_the_environment(
    server: tuple[type[Server], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handler, where = server
    handler.status = 401
    monkeypatch.setenv(TOKEN, "abc")
    # An entry for this host, which is for another service.
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password secret")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with pytest.raises(CTDenoiseError, match="not authorised"):
        fetch(f"dicomweb+http://{where}", tmp_path)
    assert handler.asked == "Bearer abc"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("dicomweb+http://me:secret@127.0.0.1:1/studies/1.2", "cannot be reached"),
        ("dicomweb+https://me:secret@{tcp}/studies/1.2", "certificate|cannot be reached"),
        ("dicomweb+http://me:secret@127.0.0.1:99999/studies/1.2", "no study or series"),
        ("dicomweb+http://me:secret@127.0.0.1/studies", "no study or series"),
        ("dicomweb+http://me:secret@127.0.0.1/studies/1.2/instances/3", "no study or series"),
        ("dicomweb+http://me:secret@127.0.0.1/studies/1.2?x=1", "no study or series"),
    ],
)
def test_bad_addresses_are_one_line_without_the_password(
    server: tuple[type[Server], str], tmp_path: Path, url: str, said: str
) -> None:
    with pytest.raises(CTDenoiseError, match=said) as raised:
        fetch(url.format(tcp=server[1].partition("/")[0]), tmp_path)
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)


def test_missing_packages_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "dicomweb_client", None)
    with pytest.raises(CTDenoiseError, match=r"pip install 'ctdenoise\[pacs\]'"):
        fetch("dicomweb+http://localhost/studies/1.2", tmp_path)
