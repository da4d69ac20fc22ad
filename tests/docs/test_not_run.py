"""Commands of the documentation that are not run have options and files that there are."""

from __future__ import annotations

import argparse
import re
import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from ctdenoise.cli import _parser
from tests.conftest import ROOT
from tests.docs.extracted import Command, inline
from tests.docs.tables import COMMANDS, NOT_RUN, PLACEHOLDERS, QUICK, RUN, concrete

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
COMMAND_NAMES = _parser()._subparsers._group_actions[0].choices


@pytest.mark.parametrize(
    "command",
    [command for command in COMMANDS if command not in RUN],
    ids=lambda command: f"{command.page}: {command.text}",
)
def test_command_that_is_not_run_has_options_that_exist(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    looked_at = 0
    for text in command.text.split("&&"):
        words = [word.removeprefix(".venv/bin/") for word in concrete(Command("", text))]
        looked_at += look_at(words, monkeypatch)
    assert looked_at, "nothing of it could be looked at"


def look_at(words: list[str], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether something of a command was compared with what there is."""
    if words[:2] == ["pip", "install"]:
        for word in words[2:]:
            for extra in Requirement(re.sub(r"^\.", "ctdenoise", word)).extras:
                assert extra in EXTRAS
        return True
    if words[0] == "dask":
        return has_options(words)
    files = [word for word in words if word.startswith(("docker/", "configs/"))]
    for file in files:
        assert Path(file).exists()
    if words[:2] == ["python", "-m"]:
        parses(words[2], words[3:], monkeypatch)
        return True
    for at, word in enumerate(words[:-1]):
        if word.partition(":")[0] == "ctdenoise" and words[at + 1] in COMMAND_NAMES:
            _parser().parse_args(words[at + 1 :])
            return True
    return bool(files) or words[0] in ("python3", "pytest", "install")


def has_options(words: list[str]) -> bool:
    """``dask`` with a command; click says what is wrong."""
    pytest.importorskip("distributed")
    from distributed.cli import dask_scheduler, dask_worker

    module = {"scheduler": dask_scheduler, "worker": dask_worker}[words[1]]
    module.main.make_context(words[1], words[2:])
    return True


class ParsedError(BaseException):
    """The arguments of a module were as it wants them."""


def parses(module: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a module parse its arguments, and go no further."""
    parse = argparse.ArgumentParser.parse_args

    def only_parse(parser: argparse.ArgumentParser, given: object = None) -> None:
        options = parse(parser, given)
        raise ParsedError(options)

    if module == "pipelines.cohort_slurm" and find_spec("dask_jobqueue") is None:
        pytest.skip("needs dask-jobqueue: pip install 'ctdenoise[cohort]'")
    if "--" in arguments:
        _parser().parse_args(["cohort", *arguments[arguments.index("--") + 1 :]])
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", only_parse)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    with pytest.raises(ParsedError):
        runpy.run_module(module, run_name="__main__")


def test_tables_name_nothing_that_is_gone() -> None:
    texts = [command.text for command in COMMANDS]
    for begin in (*NOT_RUN, *QUICK):
        assert any(text.startswith(begin) for text in texts), begin
    for placeholder in PLACEHOLDERS:
        assert placeholder == "--output DIR" or any(placeholder in text for text in texts)


@pytest.mark.parametrize("command", list(inline()), ids=lambda command: command.text)
def test_command_in_a_sentence_names_what_there_is(command: Command) -> None:
    program, *words = command.words
    if program == "python":
        assert find_spec(words[1]) is not None
        return
    name, *options = words
    assert name in COMMAND_NAMES
    known = COMMAND_NAMES[name]._option_string_actions
    assert {option for option in options if option.startswith("--")} <= set(known)
