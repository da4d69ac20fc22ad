"""What a cohort's workers are told: once for all series, and for each of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ctdenoise import __version__
from ctdenoise.backends import Precision
from ctdenoise.cohort.table import Row
from ctdenoise.run import RunSettings
from ctdenoise.series import Series


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is done with each series. Paths are absolute: workers have folders of their own.

    Attributes:
        output: each series gets a folder of its own below it.
        model: name, or file.
        clip_weights: for ``clip-rn50``.
        decoder: for ``clip-rn50``.
        digest: SHA-256 of the weights: a worker that finds others under that name is unfit.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: number format of the network.
        batch_size: slices at once.
        backend: ``auto``, ``torch`` or ``openvino``.
        threads: of each worker; None leaves it to what the worker was given.
        settings: of the run.
        deaths: workers that may die over one series; then it is given up.
        command: that all this is part of; a name that no other has.
        version: of ctdenoise, which workers must have.
    """

    output: Path
    model: str
    clip_weights: str | None
    decoder: Path | None
    digest: str
    device: str
    precision: Precision
    batch_size: int
    backend: str
    threads: int | None
    settings: RunSettings
    deaths: int
    command: str
    version: str = __version__

    @property
    def key(self) -> str:
        """Digest of what decides the result: with it, a finished series is not done again."""
        decides = asdict(replace(self.settings, overwrite=False))
        said = json.dumps([self.version, self.digest, self.precision, decides])
        return hashlib.sha256(said.encode()).hexdigest()[:16]


@dataclass(frozen=True, repr=False)
class Task:
    """A unit of work.

    Attributes:
        name: for people and for Dask.
        source: a series, or an input that may hold several.
        id: what the manifest calls it.
    """

    name: str
    source: Series | Path
    id: str = ""

    def __repr__(self) -> str:
        # Dask writes into its logs what it runs, and paths may hold names of patients.
        return self.name


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a task came to.

    Attributes:
        rows: of the table.
        left_out: how many files take no part, by reason.
        damaged: files among them that should have taken part.
        again: something failed that may go well another time.
        unfit: why its worker can do no task at all; then nothing was done.
    """

    rows: tuple[Row, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    damaged: int = 0
    again: bool = False
    unfit: str | None = None
