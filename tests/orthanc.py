"""A real Orthanc for a test, on loopback, with nothing kept."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

START_SECONDS = 120


def program(*names: str) -> str:
    """Where a program is; the test is skipped where it is not."""
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"needs {names[0]}: apt install orthanc dcmtk dcm2niix")
    return found


@dataclass(frozen=True)
class Orthanc:
    """Where it listens."""

    http: int
    dicom: int

    def get(self, path: str) -> bytes:
        """The answer to a request."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/{path}", timeout=120) as said:
            return bytes(said.read())

    def find(self, level: str, **query: str) -> list[str]:
        """Its own names of what a query finds."""
        body = json.dumps({"Level": level, "Query": query}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}/tools/find", data=body)
        with urllib.request.urlopen(request, timeout=120) as said:
            return list(json.load(said))

    def dcmtk(self, name: str, *arguments: object) -> str:
        """Let one of dcmtk's programs talk DICOM with it; returns what that says."""
        command = [program(name), "-v", "-aec", "ORTHANC", "127.0.0.1", str(self.dicom)]
        done = subprocess.run(
            [*command, *map(str, arguments)], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr


@contextmanager
def running_orthanc(folder: Path) -> Iterator[Orthanc]:
    """One that runs until the block ends, with its storage in a folder."""
    path = program("Orthanc", "orthanc")
    ports = _free_ports(2)
    config: dict[str, Any] = {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "Plugins": [],
        "HttpPort": ports[0],
        "DicomPort": ports[1],
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "OverwriteInstances": True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "orthanc.json").write_text(json.dumps(config))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([path, str(folder / "orthanc.json")], stdout=log, stderr=log)
        try:
            orthanc = Orthanc(*ports)
            _wait(orthanc, process, folder / "log")
            yield orthanc
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports


def _wait(orthanc: Orthanc, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            orthanc.get("system")
        except OSError as error:
            ended = process.poll() is not None
            if ended or time.monotonic() > deadline:
                raise RuntimeError(f"Orthanc does not answer: {log.read_text()}") from error
            time.sleep(0.1)
        else:
            return
