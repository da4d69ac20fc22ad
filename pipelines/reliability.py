"""The document about reliability, made from a run of the tests that it is about.

    python -m pipelines.reliability --output docs/reliability.md [TEST ...]

A section is a test module, a line of it is what a test shows, by the test's name. Figures are what
tests record with pytest's ``record_property``; whole numbers of one name are added up. The text
around it is in ``pipelines/reliability.md``.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).parents[1]
TEMPLATE = Path(__file__).with_suffix(".md")
PLACE = "<!-- figures -->"
TESTS = (
    "tests/series",
    "tests/derived",
    "tests/test_crash_safety.py",
    "tests/test_streaming.py",
    "tests/test_hu_safety.py",
    "tests/test_lite.py",
    "tests/models",
    "tests/test_privacy.py",
)
_PREFIX = "reliability: "
_SPELT = {
    **{word: word.upper() for word in ("clip", "ct", "dicom", "hu", "json", "pacs", "uid")},
    "deidentified": "de-identified",
    "nifti": "NIfTI",
    "simpleitk": "SimpleITK",
    "uids": "UIDs",
}


@dataclass
class Section:
    """What the tests of a module have shown.

    Attributes:
        title: the first line of the module.
        passed: cases that passed, by the name of the test.
        failed: those that did not.
        skipped: reasons why cases were not run, by the name of the test.
        figures: what was recorded, by its name.
    """

    title: str
    passed: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    skipped: dict[str, set[str]] = field(default_factory=dict)
    figures: dict[str, list[str]] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """Of Markdown."""
        lines = [f"## {self.title}", ""]
        if self.figures:
            lines += ["| | |", "|---|---|"]
            lines += [f"| {name} | {_together(values)} |" for name, values in self.figures.items()]
            lines.append("")
        for name, count in self.passed.items():
            cases = f" ({count} cases)" if count > 1 else ""
            lines.append(f"- {_sentence(name)}{cases}")
        lines += [f"- **failed**: {_sentence(name)}" for name in self.failed]
        for name, reasons in self.skipped.items():
            lines.append(f"- *not run*: {_sentence(name)} ({'; '.join(sorted(reasons))})")
        return [*lines, ""]


def sections(junit: Path) -> list[Section]:
    """What a run of pytest has written as JUnit XML, in its order."""
    found: dict[str, Section] = {}
    # Written a moment ago by a process of ours, so that no bomb is in it.
    for case in ElementTree.parse(junit).iter("testcase"):  # nosec B314
        module = case.get("classname", "")
        section = found.setdefault(module, Section(_title(module)))
        name = case.get("name", "").partition("[")[0]
        skipped = case.find("skipped")
        if skipped is not None:
            reason = re.sub(r"\s*\(now .*\)", "", skipped.get("message", ""))
            section.skipped.setdefault(name, set()).add(reason)
        elif case.find("failure") is not None or case.find("error") is not None:
            section.failed[name] += 1
        else:
            section.passed[name] += 1
        for one in case.iter("property"):
            key = one.get("name", "").removeprefix(_PREFIX)
            section.figures.setdefault(key, []).append(one.get("value", ""))
    return list(found.values())


def document(found: Iterable[Section], template: str) -> str:
    """The template with the sections in their place."""
    text = "\n".join(line for section in found for line in section.lines())
    return template.replace(PLACE, text.rstrip("\n"))


def _together(values: Sequence[str]) -> str:
    if all(re.fullmatch(r"\d+", value) for value in values):
        return f"{sum(map(int, values)):,}"
    return ", ".join(dict.fromkeys(values))


def _sentence(name: str) -> str:
    words = [_SPELT.get(word, word) for word in name.removeprefix("test_").split("_")]
    return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]])


def _title(module: str) -> str:
    path = ROOT / f"{module.replace('.', '/')}.py"
    if not path.exists():
        return module
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or module
    return said.splitlines()[0].rstrip(".")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tests and write the document; returns what pytest returned."""
    parser = argparse.ArgumentParser(description="Make the document about reliability.")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.md")
    parser.add_argument("--junit", type=Path, help="of a run that was: run nothing")
    parser.add_argument("tests", nargs="*", help="default: those that it is about")
    options = parser.parse_args(arguments)
    tests = options.tests or TESTS
    missing = [test for test in tests if not (ROOT / test.partition("::")[0]).exists()]
    if missing and options.junit is None:
        parser.error(f"no such test: {', '.join(missing)}")
    with tempfile.TemporaryDirectory() as folder:
        junit, code = options.junit or Path(folder) / "junit.xml", 0
        if options.junit is None:
            command = [sys.executable, "-m", "pytest", *tests, f"--junitxml={junit}"]
            code = subprocess.run(command, cwd=ROOT).returncode
        text = document(sections(junit), TEMPLATE.read_text(encoding="utf-8"))
        options.output.write_text(text, encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())
