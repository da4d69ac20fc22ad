"""The code blocks of the documentation, and the commands and Python in them."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
SHELL = ("", "sh", "bash")
"""Languages of a block that holds commands; an indented block has none."""

_NESTS = re.compile(r"(\d+\.|[-*]|!!!) ")


@dataclass(frozen=True)
class Block:
    """A code block of a page; ``language`` is that of its fence."""

    page: Path
    language: str
    text: str


@dataclass(frozen=True)
class Command:
    """A command, continuation lines joined, without its comment."""

    page: str
    text: str

    @property
    def words(self) -> list[str]:
        return shlex.split(re.sub(r"\s#.*", "", self.text))


def blocks(page: Path) -> Iterator[Block]:
    """The code blocks of a page, fenced or indented, also below items of a list."""
    lines = page.read_text(encoding="utf-8").splitlines()
    indent = 4
    place = 0
    while place < len(lines):
        line = lines[place]
        begin = place
        place += 1
        if line.strip().startswith("```"):
            fence = re.match(r"\s*(`+)", line)[1]
            while lines[place].strip() != fence:
                place += 1
            place += 1
            text = "\n".join(lines[begin + 1 : place - 1])
            yield Block(page, line.strip().strip("`").strip(), textwrap.dedent(text))
        elif line.startswith(" " * indent) and (begin == 0 or not lines[begin - 1].strip()):
            while place < len(lines) and (
                lines[place].startswith(" " * indent) or not lines[place]
            ):
                place += 1
            yield Block(page, "", textwrap.dedent("\n".join(lines[begin:place])))
        elif line and not line.startswith(" "):
            indent = 8 if _NESTS.match(line) else 4


def commands() -> list[Command]:
    """The commands of all pages, each once."""
    found: dict[str, Command] = {}
    for page in PAGES:
        for block in blocks(page):
            if block.language not in SHELL:
                continue
            for line in re.sub(r"\s*\\\n\s*", " ", block.text).splitlines():
                if line.strip():
                    found.setdefault(line, Command(str(page.relative_to(ROOT)), line))
    return list(found.values())


def inline() -> Iterator[Command]:
    """Commands of ours within sentences, whose options can be looked at."""
    for page in PAGES:
        prose = re.sub(r"^( {4}|```).*$", "", page.read_text(encoding="utf-8"), flags=re.M)
        for text in re.findall(r"`((?:ctdenoise|python -m) [a-z][^`]+)`", prose):
            yield Command(str(page.relative_to(ROOT)), " ".join(text.split()))
