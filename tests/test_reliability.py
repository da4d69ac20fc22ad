"""The document about reliability is made from what tests record."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import reliability
from pipelines.reliability import ROOT, main

TESTS = '''"""What is tried."""
import pytest

@pytest.mark.parametrize("kind", ["a", "b"])
def test_it_survives(kind, record_property):
    record_property("reliability: kills", 1200)
    record_property("reliability: share", f"0.{len(kind)}")

def test_it_talks_to_another_program():
    pytest.skip("needs a program (now /somewhere)")

def test_it_fails():
    assert False
'''


def test_document_is_made_of_what_tests_say(tmp_path: Path) -> None:
    (tmp_path / "test_tried.py").write_text(TESTS)
    output = tmp_path / "reliability.md"
    assert main(["--output", str(output), str(tmp_path / "test_tried.py")]) == 1
    said = output.read_text()
    for line in (
        "| kills | 2,400 |",
        "| share | 0.1 |",
        "- It survives (2 cases)",
        "- *not run*: It talks to another program (needs a program)",
        "- **failed**: It fails",
        "## What is not covered",
    ):
        assert line in said.splitlines(), line
    assert "<!--" not in said


def test_a_test_that_is_not_there_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [test for test in reliability.TESTS if not (ROOT / test).exists()] == []
    with pytest.raises(SystemExit) as ended:
        main(["--output", str(tmp_path / "reliability.md"), "tests/nonesuch", "tests"])
    assert ended.value.code == 2
    assert "no such test: tests/nonesuch\n" in capsys.readouterr().err
    assert not (tmp_path / "reliability.md").exists()
