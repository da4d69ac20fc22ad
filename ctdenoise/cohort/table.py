"""The cohort's table: a row a series."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

from ctdenoise.derived.atomic import atomic_file
from ctdenoise.errors import CTDenoiseError

CSV, PARQUET = "cohort.csv", "cohort.parquet"


@dataclass(frozen=True, kw_only=True)
class Row:
    """What became of a series, or of an input in which there is none that can be denoised.

    Attributes:
        input: line of the manifest, or the series' folder.
        id: what the manifest calls it.
        series_uid: of the source.
        new_series_uid: of the result.
        folder: of the result, below the output.
        status: ``done``, ``partial``, ``failed`` or ``refused``, as in a run's report.
        reason: why it is not done.
        notes: what a reader of the result should know.
        slices: of the source.
        noise_before_hu: of the source.
        noise_after_hu: of the result.
        change_air_hu: mean change of what is air in the source; so for the other tissues.
        seconds: from the begin of the series to its end, on its worker.
        seconds_reading: of these; the parts overlap.
        tries: in this run; 0 where an earlier one had finished the series.
        deaths: workers that died over it in this run.
    """

    input: str
    id: str = ""
    series_uid: str = ""
    new_series_uid: str = ""
    folder: str = ""
    status: str
    reason: str = ""
    notes: str = ""
    slices: int = 0
    noise_before_hu: float | None = None
    noise_after_hu: float | None = None
    change_air_hu: float | None = None
    change_lung_hu: float | None = None
    change_fat_and_soft_tissue_hu: float | None = None
    change_bone_hu: float | None = None
    seconds: float | None = None
    seconds_reading: float | None = None
    seconds_network: float | None = None
    seconds_writing: float | None = None
    tries: int = 0
    deaths: int = 0

    @classmethod
    def of(cls, report: Mapping[str, Any], folder: str, *, input: str, id: str) -> Row:
        """The row of a series' report, as JSON has it."""
        (series,) = report["series"]
        changes = {f"change_{name}_hu": hu for name, hu in series["hu_change"].items()}
        parts = {f"seconds_{name}": taken for name, taken in series["seconds"].items()}
        return cls(
            input=input,
            id=id,
            series_uid=series["source_series_uid"],
            new_series_uid=series["new_series_uid"] or "",
            folder=folder,
            status=series["status"],
            reason=series["reason"] or "",
            notes="; ".join(series["notes"]),
            slices=series["slices"],
            noise_before_hu=series["noise_before"],
            noise_after_hu=series["noise_after"],
            seconds=report["seconds"],
            deaths=report["deaths"],
            **changes,
            **parts,
        )


COLUMNS = tuple(field.name for field in fields(Row))


class Table:
    """Takes rows as they come; what is there is on the disk."""

    def __init__(self, file: TextIO) -> None:
        self.rows: list[Row] = []
        self._file = file
        self._writer = csv.writer(file, lineterminator="\n")
        self._write(COLUMNS)

    def add(self, row: Row) -> None:
        """One row more."""
        self.rows.append(row)
        self._write(["" if value is None else value for value in asdict(row).values()])

    def _write(self, cells: Sequence[Any]) -> None:
        try:
            self._writer.writerow(cells)
            self._file.flush()
        except OSError as error:
            raise CTDenoiseError(f"{CSV}: cannot be written: {error.strerror}") from None


@contextmanager
def open_table(output: Path) -> Iterator[Table]:
    """The table in a folder, begun anew.

    Raises:
        CTDenoiseError: it cannot be written.
    """
    path = output / CSV
    try:
        file = path.open("w", encoding="utf-8", newline="")
    except OSError as error:
        raise CTDenoiseError(f"{path}: cannot be written: {error.strerror}") from None
    with file:
        yield Table(file)


def write_parquet(output: Path, rows: Sequence[Row]) -> Path | None:
    """The table as Parquet, whole or not at all; None where there is no pyarrow."""
    if find_spec("pyarrow") is None:
        return None
    import pyarrow
    from pyarrow import parquet

    kinds = {"str": pyarrow.string(), "int": pyarrow.int64(), "float | None": pyarrow.float64()}
    schema = pyarrow.schema([(field.name, kinds[str(field.type)]) for field in fields(Row)])
    path = output / PARQUET
    with atomic_file(path) as partial:
        table = pyarrow.Table.from_pylist([asdict(row) for row in rows], schema=schema)
        parquet.write_table(table, partial)
    return path
