"""Reading, network and writing overlap: memory, interrupts, and what goes wrong half way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEGLSLossless, RLELossless

from ctdenoise.denoiser import Denoiser
from ctdenoise.file_names import named
from ctdenoise.hounsfield import tissue_masks
from ctdenoise.level import Level, Seen
from ctdenoise.measured_noise import noise_level
from ctdenoise.series.pixels import read_image
from tests.conftest import Run
from tests.made import KINDS, make
from tests.test_run import outputs, report_of


@pytest.fixture(autouse=True)
def _no_thread_and_no_half_file_is_left(tmp_path: Path) -> Iterator[None]:
    yield
    assert not {"ahead", "behind"} & {thread.name for thread in threading.enumerate()}
    assert not list(tmp_path.rglob(".part*"))


@pytest.fixture
def at_slice(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], list[int]]:
    """Do something when the network gets to its n-th slice; gives how many slices it saw."""

    def install(number: int, do: Callable[[], None]) -> list[int]:
        seen: list[int] = []
        denoise = Denoiser.infer_all

        def call(self: Denoiser, shown: Seen, level: Level) -> np.ndarray:
            if len(seen) < number <= len(seen) + len(shown.unit):
                do()
            seen.extend(range(len(shown.unit)))
            return denoise(self, shown, level)

        monkeypatch.setattr(Denoiser, "infer_all", call)
        return seen

    return install


def interrupt() -> None:
    raise KeyboardInterrupt


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


PEAK = """
import re, sys
from pathlib import Path
from ctdenoise.cli import main
assert main(["run", *sys.argv[1:], "--device", "cpu", "--threads", "1"]) == 0
# Not of getrusage: that begins with the peak of the process which started this one.
print(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.parametrize("kind", KINDS)
def test_memory_does_not_grow_with_the_slices(tmp_path: Path, small_model: Path, kind: str) -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc to tell the peak of memory")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def peak(count: int) -> int:
        source = make(kind, tmp_path / str(count), count, side=128)
        options = ["--input", source, "--output", tmp_path / f"out{count}", "--model", small_model]
        command = [sys.executable, "-c", PEAK, *map(str, options)]
        said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return int(said.stdout)

    peak(3)  # converts the network, which takes more memory than any slices
    assert peak(400) < 1.1 * peak(40)
    assert len(files(tmp_path / "out400")) == (400 if kind == "series" else 1)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signal_half_way_keeps_what_is_finished(
    run: Run, tmp_path: Path, small_model: Path, signum: int
) -> None:
    source = make("series", tmp_path / "in", 500, side=128)
    arguments = ["--input", str(source), "--output", str(tmp_path / "out")]
    command = [sys.executable, "-m", "ctdenoise", "run", *arguments, "--model", str(small_model)]
    command += ["--device", "cpu"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.rglob("out/*/*.dcm"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    sent = time.monotonic()
    process.send_signal(signum)
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - sent < 30
    assert process.returncode == 130
    assert "interrupted; what is finished is kept" in said
    assert "Traceback" not in said
    kept = {path: path.read_bytes() for path in files(tmp_path / "out")}
    assert 3 <= len(kept) < 500
    for path in kept:
        assert read_image(path).stored.shape == (1, 128, 128)
    assert run(source, "--report", tmp_path / "r.json") == 0
    assert len(files(tmp_path / "out")) == 500
    assert all(path.read_bytes() == data for path, data in kept.items())
    (series,) = report_of(tmp_path / "r.json")["series"]
    assert series["slices_already_there"] == len(kept)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["dicom", "nifti"])
def test_interrupted_then_finished_is_as_if_never_interrupted(
    run: Run,
    tmp_path: Path,
    at_slice: Callable[[int, Callable[[], None]], list[int]],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    form: str,
) -> None:
    source = make(kind, tmp_path / "in", 12)
    at_slice(7, interrupt)
    assert run(source, "--format", form) == 130
    by_slice = form == "dicom" and kind != "frames"
    # The first six went through the network, and what waits to be written is written.
    assert len(files(tmp_path / "out")) == (6 if by_slice else 0)
    monkeypatch.undo()
    arguments = ("--format", form, "--report", tmp_path / "r.json")
    assert run(source, *arguments) == 0
    (series,) = report_of(tmp_path / "r.json")["series"]
    assert series["slices_already_there"] == (6 if by_slice else 0)
    assert run(source, "--format", form, "--output", tmp_path / "whole") == 0
    pairs = zip(files(tmp_path / "out"), files(tmp_path / "whole"), strict=True)
    for ours, whole in pairs:
        if form == "dicom":
            np.testing.assert_array_equal(
                pydicom.dcmread(ours).pixel_array, pydicom.dcmread(whole).pixel_array
            )
        else:
            assert ours.read_bytes() == whole.read_bytes()
    before = {path: path.stat().st_mtime_ns for path in files(tmp_path / "out")}
    assert run(source, *arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in files(tmp_path / "out")} == before
    (again,) = report_of(tmp_path / "r.json")["series"]
    assert again["slices_already_there"] == 12
    for figure in ("noise_before", "noise_after", "hu_change", "instances"):
        assert again[figure] == series[figure]


@pytest.mark.parametrize("syntax", ["explicit", "rle", "jpeg-ls", "jpeg-2000"])
def test_frames_come_out_in_their_places(run: Run, tmp_path: Path, syntax: str) -> None:
    source = make("frames", tmp_path / "in", 11, side=33)
    more = ("--transfer-syntax", syntax)
    assert run(source, "--strength", 0, "--batch-size", 4, *more) == 0
    (path,) = files(tmp_path / "out")
    before, after = pydicom.dcmread(source), pydicom.dcmread(path)
    assert after.NumberOfFrames == 11
    assert after.file_meta.TransferSyntaxUID.is_compressed == (syntax != "explicit")
    np.testing.assert_array_equal(after.pixel_array, before.pixel_array)
    # By its place in the table of offsets, not by counting.
    last = pydicom.pixels.pixel_array(path, index=10)
    np.testing.assert_array_equal(last, before.pixel_array[10])
    assert [g.PlanePositionSequence for g in after.PerFrameFunctionalGroupsSequence] == [
        g.PlanePositionSequence for g in before.PerFrameFunctionalGroupsSequence
    ]


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
def test_compressed_frames_are_read_one_by_one(run: Run, tmp_path: Path, syntax: str) -> None:
    source = make("frames", tmp_path / "in", 20, side=128)
    before = pydicom.dcmread(source)
    expected = before.pixel_array
    before.compress(syntax, generate_instance_uid=False)
    before.save_as(source)
    assert run(source, "--strength", 0, "--batch-size", 3) == 0
    (path,) = files(tmp_path / "out")
    np.testing.assert_array_equal(pydicom.dcmread(path).pixel_array, expected)


def test_what_follows_the_pixels_is_kept(run: Run, tmp_path: Path) -> None:
    source = make("frames", tmp_path / "in", 3, side=33)
    dataset = pydicom.dcmread(source)
    dataset.private_block(0x7FE1, "MINE", create=True).add_new(1, "LO", "hello")
    dataset.DataSetTrailingPadding = bytes(126)
    dataset.save_as(source)
    assert run(source, "--keep-private") == 0
    (derived,) = outputs(tmp_path / "out")
    assert derived.private_block(0x7FE1, "MINE")[1].value == "hello"
    assert derived.DataSetTrailingPadding == bytes(126)


def test_multiframe_file_that_was_cut_short_is_written_again(run: Run, tmp_path: Path) -> None:
    source = make("frames", tmp_path / "in", 5)
    assert run(source) == 0
    (path,) = files(tmp_path / "out")
    whole = path.read_bytes()
    path.write_bytes(whole[:-3000])
    assert run(source) == 0
    assert path.read_bytes() == whole


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_disk_ends_one_series_with_one_line_and_the_next_is_tried(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs a small disk, which root can make")
    make("series", tmp_path / "in" / "b", 2, side=16)
    shutil.move(make(kind, tmp_path / "made", 60, side=128), tmp_path / "in" / "a")
    if kind != "series":
        (tmp_path / "in" / "a").rename(
            tmp_path / "in" / ("a.dcm" if kind == "frames" else "a.nii.gz")
        )
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)])
    if mounted.returncode:
        pytest.skip("needs a small disk, which cannot be made here")
    try:
        assert run(tmp_path / "in", "--output", disk) == 1
        said = capsys.readouterr().err
        assert said.count("failed: cannot be written: No space left on device") == 1
        assert "Traceback" not in said
        assert "done, noise" in said
        left = files(disk)
        assert all(read_image(path).stored.size for path in left)
        assert len(left) >= 2
        assert not list(disk.rglob(".part*"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_that_cannot_be_written_to_the_end_is_not_there(
    run: Run,
    tmp_path: Path,
    at_slice: Callable[[int, Callable[[], None]], list[int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: str,
) -> None:
    source = make(kind, tmp_path / "in", 100, side=32)
    seen = at_slice(1000, interrupt)

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    assert run(source) == 1
    assert "failed: cannot be written: No space left on device" in capsys.readouterr().err
    assert files(tmp_path / "out") == []
    if kind == "series":
        assert len(seen) < 10, "the network goes no further than what can wait"


def test_a_file_that_vanishes_half_way_is_one_line_and_the_rest_goes_on(
    run: Run,
    tmp_path: Path,
    at_slice: Callable[[int, Callable[[], None]], list[int]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = make("series", tmp_path / "in", 12)
    at_slice(2, (source / "0009.dcm").unlink)
    assert run(source, "--report", tmp_path / "r.json") == 1
    lines = capsys.readouterr().err.splitlines()
    gone = named(source / "0009.dcm")
    reason = f"{gone}: cannot be read: No such file or directory"
    assert lines[-1] == f"series 1 of 1: partial: 1 files could not be read: {reason}"
    (series,) = report_of(tmp_path / "r.json")["series"]
    assert series["left_out"] == [{"file": gone, "reason": reason}]
    assert len(outputs(tmp_path / "out")) == 11
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in files(source)]
    assert [item["source"] for item in series["instances"]] == uids


@pytest.mark.parametrize(
    ("kind", "status"), [("frames", "partial"), ("volume", "refused"), ("series", "refused")]
)
def test_a_file_that_is_cut_short_half_way_leaves_nothing_half_written(
    run: Run,
    tmp_path: Path,
    at_slice: Callable[[int, Callable[[], None]], list[int]],
    capsys: pytest.CaptureFixture[str],
    kind: str,
    status: str,
) -> None:
    """Of a series, NIfTI is wanted here, which holds all slices or none."""
    source = make(kind, tmp_path / "in", 60, side=128)
    cut = source / "0050.dcm" if kind == "series" else source
    seen = at_slice(2, lambda: os.truncate(cut, cut.stat().st_size // 2))
    more = ("--format", "nifti") if kind == "series" else ()
    assert run(source, "--report", tmp_path / "r.json", *more) == 1
    (series,) = report_of(tmp_path / "r.json")["series"]
    assert series["status"] == status
    reasons = [item["reason"] for item in series["left_out"]]
    assert named(cut) in reasons[0] if reasons else status == "refused"
    assert series["instances"] == []
    assert files(tmp_path / "out") == []
    assert 2 < len(seen) < 60
    assert "Traceback" not in capsys.readouterr().err


def test_a_file_that_has_changed_since_it_was_found_is_left_out(
    run: Run, tmp_path: Path, at_slice: Callable[[int, Callable[[], None]], list[int]]
) -> None:
    source = make("series", tmp_path / "in", 12)
    make("series", tmp_path / "other", 12, side=48)
    at_slice(2, lambda: shutil.copy(tmp_path / "other" / "0009.dcm", source / "0009.dcm"))
    assert run(source, "--report", tmp_path / "r.json") == 1
    (series,) = report_of(tmp_path / "r.json")["series"]
    changed = named(source / "0009.dcm")
    assert series["left_out"] == [
        {"file": changed, "reason": f"{changed}: has changed since it was found"}
    ]
    assert len(outputs(tmp_path / "out")) == 11


def test_large_and_odd_slices_of_one_series_go_through(run: Run, tmp_path: Path) -> None:
    source = make("series", tmp_path / "in", 5)
    shapes = [(1024, 1024), (1, 1), (33, 47), (64, 64), (64, 64)]
    for path, shape in zip(files(source), shapes, strict=True):
        dataset = pydicom.dcmread(path)
        pixels = np.resize(dataset.pixel_array, shape)
        dataset.Rows, dataset.Columns = shape
        dataset.PixelData = pixels.tobytes() + bytes(pixels.nbytes % 2)
        dataset.save_as(path)
    assert run(source, "--batch-size", 2) == 0
    assert [d.pixel_array.shape for d in outputs(tmp_path / "out")] == shapes


def test_figures_are_of_the_slices_they_say(run: Run, tmp_path: Path) -> None:
    """Noise of 32 slices at most, the change of HU of all, by an independent way."""
    source = make("series", tmp_path / "in", 40, side=128)
    assert run(source, "--report", tmp_path / "r.json") == 0
    (series,) = report_of(tmp_path / "r.json")["series"]
    pairs = zip(files(source), files(tmp_path / "out"), strict=True)
    images = [tuple(read_image(path) for path in pair) for pair in pairs]
    change: dict[str, list[np.ndarray]] = {}
    for before, after in images:
        for name, mask in tissue_masks(before.hu[0], before.padding[0]).items():
            change.setdefault(name, []).append((after.hu - before.hu)[0][mask])
    for name, values in change.items():
        together = np.concatenate(values)
        assert series["hu_change"][name] == pytest.approx(together.mean(), abs=0.01)
    levels = [noise_level(after.hu[0], after.padding[0]) for _, after in images]
    known = [level for level in levels if level is not None]
    assert series["noise_after"] == pytest.approx(np.median(known), rel=0.05)
