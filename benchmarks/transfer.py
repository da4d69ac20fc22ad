"""How fast slices are read and written, by transfer syntax."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from benchmarks.document import Section, Spread, Table
from benchmarks.inputs import make_slice
from benchmarks.setting import Setting

SYNTAXES = {
    "explicit little endian": ExplicitVRLittleEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
    "RLE": RLELossless,
    "JPEG-LS lossless": JPEGLSLossless,
    "JPEG 2000 lossless": JPEG2000Lossless,
}
_MEGABYTES = 512 * 512 * 2 / 1e6


def transfer_section(setting: Setting) -> Section:
    """Slices a second by ``read_image`` and ``write_derived``."""
    folder = setting.folder / "transfer"
    folder.mkdir(parents=True)
    files = {
        name: make_slice(folder / f"{number}.dcm", syntax)
        for number, (name, syntax) in enumerate(SYNTAXES.items())
    }
    read = {name: _reader(path) for name, path in files.items()}
    write = {
        name: _writer(files["explicit little endian"], folder / "written.dcm", syntax)
        for name, syntax in SYNTAXES.items()
        if syntax != DeflatedExplicitVRLittleEndian
    }
    repeats, rounds = (2, 2) if setting.quick else (10, 9)
    seconds: dict[tuple[str, str], list[float]] = {}
    for number in range(rounds + 1):
        for what, functions in (("read", read), ("write", write)):
            for name, function in functions.items():
                begin = time.perf_counter()
                for _ in range(repeats):
                    function()
                if number > 0:
                    taken = (time.perf_counter() - begin) / repeats
                    seconds.setdefault((what, name), []).append(taken)
    rows = []
    for name, path in files.items():
        cells = [f"{path.stat().st_size / 1024:.0f}"]
        for what in ("read", "write"):
            times = seconds.get((what, name))
            rate = Spread.of([1.0 / s for s in times]) if times else None
            cells += ["-", "-"] if rate is None else [rate.text(0), f"{_mb(rate):.0f}"]
        rows.append((name, *cells))
    return Section(
        title="Reading and writing",
        said=(
            "One slice of 512x512 by `ctdenoise.series.pixels.read_image` (header, pixels, "
            "padding) and `ctdenoise.derived.writers.write_derived` (a derived file, on the disk "
            f"before it has its name), one at a time; {rounds} rounds of {repeats} in turns, "
            "files in the system's cache. MB are of the pixels as they are in memory, 16 bits "
            "each.",
        ),
        tables=(
            Table(
                (
                    "transfer syntax",
                    "file, KiB",
                    "read, slices/s",
                    "MB/s",
                    "write, slices/s",
                    "MB/s",
                ),
                tuple(rows),
            ),
        ),
        notes=("Derived files are never deflated.",),
    )


def _mb(rate: Spread) -> float:
    return rate.median * _MEGABYTES


def _reader(path: Path) -> Callable[[], object]:
    from ctdenoise.series.pixels import read_image

    return lambda: read_image(path).hu


def _writer(source: Path, path: Path, syntax: UID) -> Callable[[], object]:
    from ctdenoise.denoiser import match_level
    from ctdenoise.derived.provenance import Provenance
    from ctdenoise.derived.writers import write_derived
    from ctdenoise.models.registry import load
    from ctdenoise.series.pixels import read_image

    model = load("lite")
    provenance = Provenance(
        model=model.card.name,
        digest=model.digest,
        strength=1.0,
        precision="fp32",
        backend="torch",
        device="cpu",
        level=match_level(model.card, None),
    )
    image, when = read_image(source), datetime.now()
    compressed = None if syntax == ExplicitVRLittleEndian else syntax
    return lambda: write_derived(path, image, image.hu, provenance, when, compressed)
