"""The tidy table of figures, and the note of what it is of."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from ctdenoise.derived.atomic import atomic_file, create_folder
from ctdenoise.errors import CTDenoiseError

FIGURES = "figures.csv"
SETTINGS = "evaluation.json"
FAILED = "failed"
_WEIGHTS = "weights"
LAST = "seconds"
"""The last figure of a method on an image: without it, the method did not finish there."""

Key = tuple[str, str, str, int, str]


@dataclass(frozen=True)
class Row:
    """One line of the tidy table."""

    image: str
    group: str
    kind: str
    noise: str
    seed: int
    method: str
    setting: float
    metric: str
    where: str
    at: float
    value: float
    unit: str

    @property
    def key(self) -> Key:
        """What was denoised, and by what."""
        return self.image, self.group, self.noise, self.seed, self.method


def by_metric(rows: Sequence[Row], metric: str, where: str) -> Iterator[Row]:
    """Rows of one figure."""
    return (row for row in rows if row.metric == metric and row.where == where)


def note_settings(
    output: Path, settings: Mapping[str, Any], weights: Mapping[str, str], *, overwrite: bool
) -> None:
    """Write what is evaluated, or make sure that an earlier run had the same in mind.

    Figures of a method whose weights are no longer those of the earlier run go.

    Args:
        output: folder of the table.
        settings: all that figures depend on, but for the methods.
        weights: digests of those methods that have weights.
        overwrite: begin anew.

    Raises:
        CTDenoiseError: the folder holds the figures of something else.
    """
    path = output / SETTINGS
    changed: set[str] = set()
    if path.exists() and not overwrite:
        earlier = _read_settings(path)
        known = earlier.get(_WEIGHTS, {})
        changed = {name for name in weights if known.get(name, weights[name]) != weights[name]}
        weights = known | dict(weights)
        differs = [name for name in settings if earlier.get(name) != settings[name]]
        if differs:
            raise CTDenoiseError(
                f"--output: holds figures of something else ({', '.join(differs)}); use "
                "--overwrite or another --output"
            )
    create_folder(output)
    if overwrite:
        (output / FIGURES).unlink(missing_ok=True)
    elif changed:
        rows = read_rows(output / FIGURES)
        _write_rows(output / FIGURES, [row for row in rows if row.method not in changed])
    with atomic_file(path) as partial:
        noted = {**settings, _WEIGHTS: dict(weights)}
        partial.write_text(json.dumps(noted, indent=2) + "\n", encoding="utf-8")


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        found = None
    return found if isinstance(found, dict) else {}


def read_rows(path: Path) -> list[Row]:
    """Rows of what an earlier run has finished; what failed then is tried again.

    Raises:
        CTDenoiseError: the file is no table of ours.
    """
    if not path.exists():
        return []
    names = [field.name for field in fields(Row)]
    rows = []
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        if next(reader, None) != names:
            raise CTDenoiseError(
                f"{path.name}: is not a table of this version of ctdenoise evaluate"
            )
        for values in reader:
            if len(values) != len(names):  # the run was killed while it wrote
                continue
            got: dict[str, Any] = dict(zip(names, values, strict=True))
            numbers = {name: float(got[name]) for name in ("setting", "at", "value")}
            rows.append(Row(**(got | numbers | {"seed": int(got["seed"])})))
    finished = {row.key for row in rows if row.metric == LAST}
    return [row for row in rows if row.key in finished]


def _write_rows(path: Path, rows: Sequence[Row]) -> None:
    with atomic_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Row)])
        writer.writerows(astuple(row) for row in rows)


class Table:
    """The tidy table as it grows; begins with what was finished."""

    def __init__(self, path: Path, rows: Sequence[Row]) -> None:
        _write_rows(path, rows)
        self._file = path.open("a", newline="", encoding="utf-8")

    def __enter__(self) -> Table:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, rows: Sequence[Row]) -> None:
        """Write rows to the disk."""
        csv.writer(self._file).writerows(astuple(row) for row in rows)
        self._file.flush()
        os.fsync(self._file.fileno())
