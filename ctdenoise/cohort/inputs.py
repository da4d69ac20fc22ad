"""The tasks of a cohort: series below a folder, or rows of a manifest."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ctdenoise.cohort.job import Outcome, Task
from ctdenoise.cohort.privacy import count_reasons
from ctdenoise.cohort.table import Row
from ctdenoise.errors import CTDenoiseError
from ctdenoise.run import series_folder
from ctdenoise.series import find

PATH, ID = "path", "id"


@dataclass(frozen=True)
class Inputs:
    """What there is to do.

    Attributes:
        tasks: units of work.
        known: what is known without doing any: rows that cannot be done, files left out.
    """

    tasks: Sequence[Task]
    known: Outcome


def read_inputs(source: Path, output: Path) -> Inputs:
    """The series below a folder, the rows of a ``.csv``, or any other input as one task.

    Raises:
        CTDenoiseError: there is no series in the folder, or the manifest is none.
    """
    if source.suffix.lower() == ".csv" and source.is_file():
        return _manifest(source)
    if not source.is_dir():
        return Inputs([Task("input", source)], Outcome())
    found = find(source, without=output)
    left_out = count_reasons(item.reason for item in found.left_out)
    if not found.series:
        why = next(iter(left_out)) if len(left_out) == 1 else f"{len(found.left_out)} files"
        raise CTDenoiseError(f"--input: no CT series to denoise ({why} left out)")
    tasks = [Task(series_folder(series), series) for series in found.series]
    damaged = sum(item.damaged for item in found.left_out)
    return Inputs(tasks, Outcome(left_out=left_out, damaged=damaged))


def _manifest(path: Path) -> Inputs:
    """A row a task; its name is its line. A path is relative to the folder of the manifest."""
    tasks: list[Task] = []
    rows: list[Row] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            if PATH not in columns:
                # Their names are not said: without a header, they are a patient's.
                said = f"its first line must name its {len(columns)} columns"
                raise CTDenoiseError(f"{path}: has no column {PATH!r}; {said}")
            for line in reader:
                name, id = f"line {reader.line_num}", line.get(ID) or ""
                said = line[PATH] or ""
                source = path.parent.resolve() / said.strip()
                if not said.strip():
                    rows.append(Row(input=name, id=id, status="failed", reason="has no path"))
                elif not source.exists():
                    reason = "no such file or folder"
                    rows.append(Row(input=name, id=id, status="failed", reason=reason))
                else:
                    tasks.append(Task(name, source, id))
    except OSError as error:
        raise CTDenoiseError(f"{path}: cannot be read: {error.strerror}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise CTDenoiseError(f"{path}: is no CSV in UTF-8 ({error})") from None
    if not tasks and not rows:
        raise CTDenoiseError(f"{path}: has no rows")
    return Inputs(tasks, Outcome(rows=tuple(rows)))
