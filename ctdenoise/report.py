"""What a run did, as JSON."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ctdenoise import __version__
from ctdenoise.derived.atomic import atomic_file
from ctdenoise.errors import CTDenoiseError

Status = Literal["done", "partial", "failed", "refused"]


@dataclass
class Seconds:
    """Wall time of the parts of the work, which overlap: their sum may be more than has passed."""

    reading: float = 0.0
    network: float = 0.0
    writing: float = 0.0

    @contextmanager
    def timed(self, part: Literal["reading", "network", "writing"]) -> Iterator[None]:
        """Add the time that a block takes to a part; each part has one thread."""
        started = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, part, getattr(self, part) + time.perf_counter() - started)


@dataclass
class SeriesReport:
    """What became of a series.

    ``instances`` pairs the SOP Instance UIDs of source and result; ``left_out`` holds files of
    the series that could not be read. Noise is in HU, the median of 32 slices that are spread
    over the series; ``hu_change`` is the mean change in HU of each tissue class of the source, over
    all slices, None where a class has no pixel.
    """

    source_series_uid: str
    new_series_uid: str | None = None
    output: str | None = None
    status: Status = "failed"
    reason: str | None = None
    instances: list[Mapping[str, str]] = field(default_factory=list)
    left_out: list[Mapping[str, str]] = field(default_factory=list)
    slices: int = 0
    slices_already_there: int = 0
    notes: list[str] = field(default_factory=list)
    settings: Mapping[str, Any] = field(default_factory=dict)
    noise_before: float | None = None
    noise_after: float | None = None
    hu_change: Mapping[str, float | None] = field(default_factory=dict)
    seconds: Seconds = field(default_factory=Seconds)


@dataclass
class RunReport:
    """What became of an input; ``damaged`` counts files left out that should not have been.

    ``retrieved`` holds the UIDs that the URL of a DICOMweb service names; it is empty for files.
    """

    model: Mapping[str, Any]
    series: list[SeriesReport] = field(default_factory=list)
    damaged: int = 0
    left_out: list[Mapping[str, str]] = field(default_factory=list)
    retrieved: Mapping[str, str] = field(default_factory=dict)
    ctdenoise_version: str = __version__
    disclaimer: str = "For research only: not a medical device."

    @property
    def exit_code(self) -> int:
        """0 all done, 1 some series failed or were refused, 2 nothing usable."""
        if not self.series:
            return 2
        return 1 if self.damaged or any(s.status != "done" for s in self.series) else 0

    def write(self, path: Path, *, hash_uids: bool = False) -> None:
        """Write as JSON, whole or not at all; ``hash_uids`` writes digests for UIDs.

        Raises:
            CTDenoiseError: the file cannot be written.
        """
        content = asdict(self)
        if hash_uids:
            for series in content["series"]:
                _hash_uids(series)
            content["retrieved"] = {k: _hashed(uid) for k, uid in content["retrieved"].items()}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as partial:
                partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise CTDenoiseError(f"--report: cannot be written: {error.strerror}") from None


def _hash_uids(series: dict[str, Any]) -> None:
    """The same digest for the same UID, of which who knows the UID can make it as well."""
    for name in ("source_series_uid", "new_series_uid"):
        if series[name] is not None:
            series[name] = _hashed(series[name])
    series["instances"] = [
        {name: _hashed(uid) for name, uid in pair.items()} for pair in series["instances"]
    ]


def _hashed(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:32]
