"""The document of results, from a small configuration."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from ctdenoise.evaluation.table import Row
from pipelines import results
from tests.conftest import SAMPLE


def test_document_says_where_we_lose(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ct").symlink_to(SAMPLE)
    methods = ["lite", "tests.evaluation.conftest:half"]
    config = {
        "photographs": {
            "title": "Photographs",
            "text": "A camera man.",
            "inputs": ["photographs"],
            "noises": ["gaussian:25"],
            "methods": methods,
        },
        "real": {
            "title": "Real",
            "text": "A chest.",
            "inputs": ["ct"],
            "slices": 1,
            "noises": ["as-is"],
            "methods": methods,
        },
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    document = tmp_path / "results.md"
    words = ["--data", tmp_path, "--output", tmp_path / "out", "--threads", "1"]
    words += ["--config", tmp_path / "config.json", "--document", document]
    monkeypatch.setattr(sys, "argv", ["results", *map(str, words)])
    results.main()
    text = document.read_text()
    assert "# Photographs\n\nA camera man." in text
    assert "| PSNR, dB | gaussian:25 |" in text
    assert "## ct, as-is" in text
    # Half of the noisy image has half of its noise, and less than our model leaves.
    assert "noise left, soft" in text
    first = (tmp_path / "out" / "real" / "figures.csv").stat().st_mtime_ns
    results.main()
    assert document.read_text() == text
    assert (tmp_path / "out" / "real" / "figures.csv").stat().st_mtime_ns == first


@pytest.mark.parametrize(("ours", "said"), [(3.0, "ahead"), (1.0, "**behind**")])
def test_verdict_is_by_direction_and_interval(ours: float, said: str) -> None:
    rows = []
    for method, value in (("lite", ours), ("tv", 2.0), ("identity", 9.0)):
        for i in range(5):
            of = (f"{i}.png", f"{i}.png", "photograph", "gaussian:25", 0, method, 1.0)
            rows.append(Row(*of, "psnr", "all", float("nan"), value + 0.01 * i, "dB"))
    (_, _, line) = results.verdicts(rows)
    assert line.endswith(f"tv | {said} |")
