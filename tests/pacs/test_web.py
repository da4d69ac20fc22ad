"""Retrieval through DICOMweb, from a real Orthanc and from servers that are up to no good."""

from __future__ import annotations

import base64
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pydicom
import pytest

from ctdenoise.errors import CTDenoiseError
from ctdenoise.pacs.settings import NodeSettings, Peer
from ctdenoise.pacs.web import fetch, is_dicomweb
from tests.pacs.conftest import SmallSeries, free_port, send
from tests.pacs.orthanc import DICOMWEB, binary, running

Series = Callable[..., SmallSeries]
TOKEN = "CTDENOISE_DICOMWEB_TOKEN"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dicomweb+http://localhost/studies/1.2", True),
        ("DICOMweb+https://localhost/studies/1.2/series/3", True),
        ("http://localhost/studies/1.2", False),
        ("dicomweb+http", False),
        ("series/", False),
    ],
)
def test_what_is_dicomweb(text: str, expected: bool) -> None:
    assert is_dicomweb(text) is expected


def test_a_series_and_a_study_from_orthanc(series: Series, tmp_path: Path) -> None:
    binary()
    if not DICOMWEB.exists():
        pytest.skip("needs Orthanc's plugin for DICOMweb: apt-get install orthanc-dicomweb")
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
    asked: str | None = None

    def do_GET(self) -> None:
        type(self).asked = self.headers.get("Authorization")
        self.send_response(self.status)
        self.send_header("Content-Type", self.kind)
        # More than comes, if the body is to be cut short.
        self.send_header("Content-Length", str(len(self.body) + 1000 * (self.status == 206)))
        self.end_headers()
        self.wfile.write(self.body)

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
        (206, MULTIPART, b"--b\r\n\r\n", "the connection was broken off"),
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
