"""The benchmarks: what they compare with is the published network, and what they print is right.

Nothing here is timed.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.document import Section, Spread, Table, document, ratios, target
from benchmarks.inputs import make_frames, make_series, make_volume
from benchmarks.interleaved import Rounds, Timed, Variant
from benchmarks.network import Group, Model, network_section, peak_section, peaks
from benchmarks.performance import whole
from benchmarks.published import load_checkpoint, random_network, save_checkpoint
from benchmarks.worker import flop, ours, serve, written_down
from ctdenoise.models.files import load_model
from ctdenoise.series import find
from tests.reference_network import published_forward

LAYERS = (1, 2, 1, 1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / "net_g_latest.pth"
    save_checkpoint(random_network(8, LAYERS), path)
    return path


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).random((1, 64, 96), dtype=np.float32)


def test_published_way_of_computing_gives_what_ours_gives(
    checkpoint: Path, images: np.ndarray
) -> None:
    expected = written_down(load_checkpoint(checkpoint), images).result()
    model = load_model(checkpoint)
    found = ours(model, images, backend="torch", precision="fp32", threads=1).result()
    assert np.abs(found - expected).max() <= 1e-5 * np.ptp(expected)
    again = written_down(model.network, images).result()
    assert np.abs(again - expected).max() <= 1e-5 * np.ptp(expected)


def test_published_way_of_computing_is_the_published_network(
    checkpoint: Path, images: np.ndarray
) -> None:
    weights = torch.load(checkpoint, weights_only=True)["params"]
    assert "encoder.layer4.0.conv1.weight" in weights
    expected = published_forward(weights, torch.from_numpy(images[:, None]))[:, 0].numpy()
    found = written_down(load_checkpoint(checkpoint), images).result()
    assert np.abs(found - expected).max() <= 1e-5 * np.ptp(expected)


def test_operations_are_those_of_the_published_network() -> None:
    """About 178 GFLOP a slice of 512 x 512, of which 12 are the stage that nothing uses."""
    with torch.device("meta"):
        network = random_network(64)
    image = torch.empty(1, 1, 512, 512, device="meta")
    assert flop(network, image) / 1e9 == pytest.approx(178, abs=1)


def test_a_worker_answers_line_by_line(
    checkpoint: Path, images: np.ndarray, tmp_path: Path
) -> None:
    job = written_down(load_checkpoint(checkpoint), images)
    answers = io.StringIO()
    serve(job, io.StringIO(f"run\nflop\nsave {tmp_path / 'result.npy'}\n"), answers)
    ready, seconds, operations, saved = map(json.loads, answers.getvalue().splitlines())
    assert (ready, saved) == ("ready", None)
    assert len(seconds) == len(operations) == 1
    np.testing.assert_allclose(np.load(tmp_path / "result.npy"), job.result(), rtol=1e-5)


def test_spreads_and_ratios() -> None:
    assert Spread.of([3.0, 1.0, 2.0]).text(1) == "2.0 (1.0 to 3.0)"
    assert Spread.of([1.0]).text() == "1.00"
    assert ratios([4.0, 9.0, 2.0], [2.0, 3.0, 1.0]) == Spread(2.0, 2.0, 3.0)


def test_document_has_all_that_was_measured() -> None:
    table = Table(("what", "s"), (("a", "1.0"), ("b", "2.0")))
    section = Section("Part", ("Said.",), (table,), (target("b below 1", met=False),))
    text = document("Title", ["Intro."], [section])
    assert text == (
        "# Title\n\nIntro.\n\n## Part\n\nSaid.\n\n"
        "| what | s |\n| --- | --- |\n| a | 1.0 |\n| b | 2.0 |\n\n"
        "- Target, b below 1: **missed**.\n"
    )
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        Table(("what", "s"), (("a",),)).markdown()


def test_network_tables_of_made_up_figures() -> None:
    plain, fast = Variant("published", "net.pth"), Variant("ours", "net.pth", batch=2)
    convolved = Variant("convolutions"), Variant("convolutions", precision="bf16")
    timed = {
        plain: Timed(((8.0, 4.0),), (int(160e9),)),
        fast: Timed(((4.0, 2.0),), (int(300e9),)),
        convolved[0]: Timed(((0.02, 0.01), (0.01, 0.04), (0.1, 0.1)), (int(2e9),) * 3),
        convolved[1]: Timed(((0.01, 0.01),) * 3, (int(4e9),) * 3),
    }
    group = Group(Model("paper", plain, "net.pth", targets=True), timed, {fast: 2e-4})
    assert peaks(timed) == {"fp32": 200.0, "bf16": 400.0}
    text = network_section([group], side=512, rounds=Rounds(1, 2)).markdown()
    row = "| plain | fp32 | 1 | 6.000 (4.000 to 8.000) | 1.00 | 160.0 | 40 | 20% | - |"
    assert row in text
    row = "| torch | fp32 | 2 | 1.500 (1.000 to 2.000) | 4.00 | 150.0 | 150 | 75% | 2e-04 |"
    assert row in text
    assert "fp32 within 0.0001 of the range of the output: **missed**" in text
    assert "paper: fp32 2.3 times as fast as plain (4.00): **met**" in text


def test_peak_is_the_best_of_all_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.network.has_openvino", lambda: False)
    convolved = Variant("convolutions"), Variant("convolutions", precision="bf16")
    slow = dict.fromkeys(convolved, Timed(((0.02,), (0.01,), (0.1,)), (int(2e9),) * 3))
    fast = dict.fromkeys(convolved, Timed(((0.01,), (0.04,), (0.1,)), (int(2e9),) * 3))
    text = peak_section([slow, fast]).markdown()
    assert "| torch | fp32 | 200 | 200 | 20 | 200 |" in text
    assert "OpenVINO is not installed: its rows are left out." in text


def test_document_says_how_and_where_it_was_printed() -> None:
    text = whole([Section("Part", ())], command="python -m benchmarks.performance", quick=True)
    assert text.startswith("# How fast\n\nPrinted by `python -m benchmarks.performance` on ")
    assert "These figures mean nothing" in text
    assert text.index("## Part") < text.index("## What would be next")


@pytest.mark.parametrize("make", [make_series, make_frames, make_volume])
def test_inputs_are_one_series_of_as_many_slices(make: type, tmp_path: Path) -> None:
    found = find(make(tmp_path / "made", 10, 64))
    assert not found.left_out
    (series,) = found.series
    assert series.slices == 10
    assert {(i.rows, i.columns) for i in series.instances} == {(64, 64)}
