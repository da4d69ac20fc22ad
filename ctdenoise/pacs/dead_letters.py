"""Series that were given up: kept with the reason, until somebody has looked at them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import pydicom

from ctdenoise import __version__
from ctdenoise.derived.atomic import PARTIAL_SUFFIX
from ctdenoise.pacs.durable import move, write

_REASON = "reason.json"


class DeadLetters:
    """A folder of them: each has ``source/``, ``derived/`` if there is any, and reason.json."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __len__(self) -> int:
        return sum(1 for _ in self._folder.iterdir())

    def add(
        self, series: str, stage: str, reasons: Sequence[str], parts: Mapping[str, Path]
    ) -> None:
        """Move the folders of a series here; ``parts`` says what each becomes.

        The reason holds UIDs, and nothing else of the objects.
        """
        partial = self._folder / f"{PARTIAL_SUFFIX}-{series}"
        partial.mkdir(exist_ok=True)
        said = {
            **_uids(parts["source"]),
            "stage": stage,
            "reasons": list(reasons),
            "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "parts": {
                name: path.relative_to(self._folder.parent).as_posix()
                for name, path in parts.items()
            },
            "ctdenoise_version": __version__,
        }
        write(partial / _REASON, json.dumps(said, indent=2).encode() + b"\n")
        self._complete(partial)

    def recover(self) -> None:
        """Go on where an earlier process was ended."""
        for partial in self._folder.glob(f"{PARTIAL_SUFFIX}-*"):
            if (partial / _REASON).exists():
                self._complete(partial)
            else:
                partial.rmdir()

    def revive(self, *, source: Path, derived: Path, done: Path) -> int:
        """Put all back into the queue, those whose place is free; returns how many.

        What is left of each goes to ``done``, which is emptied at times.
        """
        count = 0
        for letter in sorted(path.parent for path in self._folder.glob(f"*/{_REASON}")):
            series = letter.name.split("-")[0]
            moves = {letter / "source": source / series}
            if json.loads((letter / _REASON).read_bytes())["stage"] == "sending":
                # The derived first: with them, nothing is denoised again.
                moves = {letter / "derived": derived / series, **moves}
            moves = {part: place for part, place in moves.items() if part.exists()}
            if any(place.exists() for place in moves.values()):
                continue
            for part, place in moves.items():
                move(part, place)
            move(letter, done / f"{letter.name}-letter")
            count += 1
        return count

    def _complete(self, partial: Path) -> None:
        said = json.loads((partial / _REASON).read_bytes())
        # The derived last: without the source nothing is denoised again.
        for name, place in said["parts"].items():
            path = self._folder.parent / place
            if path.exists():
                move(path, partial / name)
        series = partial.name.removeprefix(f"{PARTIAL_SUFFIX}-")
        target, number = self._folder / series, 1
        while target.exists():
            number += 1
            target = self._folder / f"{series}-{number}"
        move(partial, target)


def _uids(source: Path) -> dict[str, str]:
    for path in source.glob("*.dcm"):
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
            return {
                "study_uid": str(header.StudyInstanceUID),
                "series_uid": str(header.SeriesInstanceUID),
            }
        except Exception:  # a file that cannot be read may be why it is here
            continue
    return {}
