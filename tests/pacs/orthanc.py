"""A real Orthanc on loopback, with DICOMweb where its plugin is installed."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.pacs.conftest import free_port, wait_for

DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "pacs.md"


def binary() -> str:
    """Where Orthanc is; skips the test where it is not."""
    found = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip("needs Orthanc: apt-get install orthanc orthanc-dicomweb")
    return found


def documented(language: str) -> str:
    """The one block of a language in the documentation."""
    text = DOCUMENTATION.read_text()
    (block,) = text.split(f"```{language}\n")[1:]
    return block.partition("```")[0]


def documented_command(name: str, replaced: dict[str, object]) -> list[str]:
    """The one line of a command in the documentation, with some of its words replaced."""
    lines = DOCUMENTATION.read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(f"    ctdenoise {name} ")]
    words = shlex.split(line)
    assert set(replaced) <= set(words)
    return [str(replaced.get(word, word)) for word in words]


class Orthanc:
    """A running Orthanc."""

    def __init__(self, dicom_port: int, http_port: int) -> None:
        self.dicom_port = dicom_port
        self.url = f"http://127.0.0.1:{http_port}"

    def get(self, path: str) -> Any:
        return self._ask(path, None)

    def post(self, path: str) -> Any:
        return self._ask(path, b"")

    def _ask(self, path: str, data: bytes | None) -> Any:
        with urllib.request.urlopen(self.url + path, data) as answer:
            body = answer.read()
            return json.loads(body) if "json" in answer.headers["Content-Type"] else body


@contextmanager
def running(
    folder: Path, node_port: int, *, users: dict[str, str] | None = None
) -> Iterator[Orthanc]:
    """Orthanc as the documentation sets it up, in ``folder``."""
    folder.mkdir()
    orthanc = Orthanc(free_port(), free_port())
    (folder / "route.lua").write_text(documented("lua"))
    configuration = json.loads(documented("json"))
    assert set(configuration["DicomModalities"]) == {"ctdenoise"}
    configuration["DicomModalities"]["ctdenoise"] = ["CTDENOISE", "127.0.0.1", node_port]
    configuration |= {
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomPort": orthanc.dicom_port,
        "HttpPort": int(orthanc.url.rpartition(":")[2]),
        "LuaScripts": [str(folder / "route.lua")],
        "StableAge": 1,
        "AuthenticationEnabled": users is not None,
        "RegisteredUsers": users or {},
        "Plugins": [str(DICOMWEB)] if DICOMWEB.exists() else [],
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([binary(), str(folder / "orthanc.json")], stderr=log, stdout=log)
        try:
            wait_for(lambda: "Orthanc has started" in (folder / "log").read_text(errors="replace"))
            yield orthanc
        finally:
            process.terminate()
            process.wait(120)
