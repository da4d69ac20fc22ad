"""The files for containers agree with the package and with each other; no image is built."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
import yaml

from ctdenoise import __version__
from ctdenoise.cli import _parser
from ctdenoise.pacs.settings import Peer
from tests.conftest import ROOT
from tests.pacs.orthanc import documented

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("Dockerfile.c*[!e]"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def load_exercise() -> Any:
    """docker/exercise.py, which is in no package."""
    spec = spec_from_file_location("exercise", DOCKER / "exercise.py")
    module = module_from_spec(spec)
    sys.modules["exercise"] = module
    spec.loader.exec_module(module)
    return module


exercise = load_exercise()
every_dockerfile = pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)


def compose(name: str = "compose.yaml") -> dict[str, Any]:
    return yaml.safe_load((DOCKER / name).read_text())


def test_there_is_one_for_a_cpu_and_one_for_a_gpu() -> None:
    assert [path.name for path in DOCKERFILES] == ["Dockerfile.cpu", "Dockerfile.cuda"]


@every_dockerfile
def test_image_is_small_pinned_and_without_rights(path: Path) -> None:
    instructions = exercise.parse(path)
    last = {one.name: one for one in instructions if one.stage == 1}
    assert max(one.stage for one in instructions) == 1
    (base,) = [one.value for one in instructions if one.value.startswith("BASE=")]
    assert re.fullmatch(r"BASE=[\w./-]+:[\w.-]*\d[\w.-]*", base)
    assert all("${BASE}${BASE_DIGEST}" in one.value for one in instructions if one.name == "FROM")
    user, group = last["USER"].value.split(":")
    assert int(user) > 0
    assert int(group) > 0
    environment = dict(exercise.assignments(last["ENV"].value))
    assert environment["HF_HUB_OFFLINE"] == "1"
    # Whatever installs something is in the first stage, but for what the base lacks.
    assert "pip" not in " ".join(one.value for one in instructions if one.stage == 1)


@every_dockerfile
def test_its_commands_are_of_the_command_line(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    of = {one.name: one for one in exercise.parse(path)}
    assert of["ENTRYPOINT"].words == ["ctdenoise"]
    assert "ctdenoise" in PROJECT["project"]["scripts"]
    health = json.loads(of["HEALTHCHECK"].value.partition("CMD ")[2])
    for words in (health[1:], of["CMD"].words):
        with pytest.raises(SystemExit) as ended:
            _parser().parse_args(words)
        assert ended.value.code == 0
    assert "ctdenoise" in capsys.readouterr().out


@every_dockerfile
def test_what_it_copies_is_there_and_not_ignored(path: Path) -> None:
    kept = Path(f"{path}.dockerignore").read_text().splitlines()
    assert kept[0] == "*"
    copied = [name for one in exercise.parse(path) if one.name == "COPY" for name in sources(one)]
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in kept
    # A package or its data that is copied from nowhere would be missed only in the image.
    packages = PROJECT["tool"]["setuptools"]["packages"]
    folders = PROJECT["tool"]["setuptools"]["package-dir"]
    tops = {folders.get(package, package.partition(".")[0]) for package in packages}
    assert tops <= set(copied)
    assert {PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]} <= set(copied)


def sources(instruction: Any) -> list[str]:
    return exercise.sources(instruction)


@every_dockerfile
def test_extras_that_it_installs_exist(path: Path) -> None:
    text = path.read_text()
    (extras,) = re.findall(r"pip install '\.\[([\w,]+)\]'", text)
    assert "pacs" in extras.split(",")
    assert set(extras.split(",")) <= set(PROJECT["project"]["optional-dependencies"])


def test_every_dependency_is_pinned() -> None:
    lines = [
        line
        for line in (DOCKER / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    pinned = {line.partition("==")[0] for line in lines}
    extras = PROJECT["project"]["optional-dependencies"]
    installed = ("openvino", "pacs", "deidentify")
    wanted = [
        *PROJECT["project"]["dependencies"],
        *(one for name in installed for one in extras[name]),
    ]
    names = {re.match(r"[\w.-]+", one)[0].lower().replace("_", "-") for one in wanted}
    assert names <= pinned


def test_the_node_is_started_as_the_command_line_wants_it() -> None:
    node = compose()["services"]["node"]
    options = _parser().parse_args(node["command"])
    assert options.command.__module__ == "ctdenoise.commands.serve"
    # The spool is a folder of its own: a volume may hold lost+found beside it.
    volumes = {target: name for name, target in (one.split(":") for one in node["volumes"])}
    assert str(options.spool.parent) in volumes
    assert set(volumes.values()) <= set(compose()["volumes"])
    assert f":{options.http_port}/health" in node["healthcheck"]["test"][-1]
    assert options.http_host == "127.0.0.1"
    compile(node["healthcheck"]["test"][-1], "healthcheck", "exec")
    assert node["read_only"]
    assert node["cap_drop"] == ["ALL"]


def test_node_and_archive_know_each_other() -> None:
    services = compose()["services"]
    options = _parser().parse_args(services["node"]["command"])
    archive = json.loads((DOCKER / "orthanc.json").read_text())
    assert Peer.parse(options.forward) == Peer(archive["DicomAet"], "archive", archive["DicomPort"])
    assert archive["DicomModalities"]["ctdenoise"] == [options.aet, "node", options.port]
    assert archive["AuthenticationEnabled"]
    assert set(archive["RegisteredUsers"].values()) == {"${ORTHANC_PASSWORD}"}
    lua = textwrap.dedent(f"    {documented('lua').strip()}\n")
    assert (DOCKER / "route.lua").read_text().endswith(lua)
    for mount in services["archive"]["volumes"][:2]:
        file, inside, mode = mount.split(":")
        assert (DOCKER / file).is_file()
        assert mode == "ro"
        assert inside in {"/etc/orthanc/orthanc.json", *archive["LuaScripts"]}


def test_nothing_is_published_beyond_loopback_and_the_node_has_no_way_out() -> None:
    described = compose()
    for service in described["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert described["services"]["node"]["networks"] == ["dicom"]
    assert described["networks"]["dicom"]["internal"]


def test_images_have_dockerfiles() -> None:
    for name in ("compose.yaml", "compose.cuda.yaml"):
        build = compose(name)["services"]["node"]["build"]
        assert (ROOT / build["dockerfile"]).is_file()
    assert re.fullmatch(
        r"jodogne/orthanc:\d+\.\d+\.\d+\$\{ORTHANC_DIGEST:-\}",
        compose()["services"]["archive"]["image"],
    )


def test_the_map_is_of_this_version() -> None:
    described = yaml.safe_load((DOCKER / "map" / "app.yaml").read_text())
    assert described["application"]["version"] == __version__
    compile((DOCKER / "map" / "__main__.py").read_text(), "map", "exec")


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_lines_are_exercised_below_another_root(tmp_path: Path) -> None:
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(
        "ARG BASE=scratch\n"
        "FROM ${BASE}\n"
        "WORKDIR /src\n"
        "COPY LICENSE NOTICE ./\n"
        "ENV HOME_OF=/opt/ctdenoise/x OTHER=/opt/ctdenoise-else\n"
        "RUN mkdir -p /opt/ctdenoise \\\n    && cp LICENSE $HOME_OF && echo $OTHER > /src/other\n"
        "RUN groupadd --gid 10001 ctdenoise\n"
    )
    done = exercise.Exercise(tmp_path / "root", "https://index.invalid")
    for instruction in exercise.parse(dockerfile):
        done.do(instruction)
    assert (tmp_path / "root/opt/ctdenoise/x").read_text() == (ROOT / "LICENSE").read_text()
    assert (tmp_path / "root/src/other").read_text() == "/opt/ctdenoise-else\n"
    assert done.left_out == ["RUN groupadd --gid 10001 ctdenoise"]
