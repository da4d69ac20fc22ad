"""Figures as Markdown: spreads, tables, sections, and the document that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Spread:
    """Median, least and most of what was measured more than once."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of at least one value."""
        return cls(median(values), min(values), max(values))

    def text(self, digits: int = 2) -> str:
        """``2.31 (2.20 to 2.44)``."""
        low, middle, high = (f"{x:.{digits}f}" for x in (self.low, self.median, self.high))
        return middle if low == high else f"{middle} ({low} to {high})"


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """The spread of the ratio of two things that were measured in the same rounds."""
    return Spread.of([a / b for a, b in zip(above, below, strict=True)])


@dataclass(frozen=True)
class Table:
    """Columns, and rows of as many cells."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """As Markdown."""
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"{len(row)} cells for {len(self.columns)} columns: {row}")
        lines = [self.columns, ("---",) * len(self.columns), *self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@dataclass(frozen=True)
class Section:
    """A part of the document.

    Attributes:
        title: its heading.
        said: paragraphs before the tables: what is measured, and how.
        tables: what came of it.
        notes: lines below them: targets, and whether they are met; what was left out.
    """

    title: str
    said: tuple[str, ...]
    tables: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """As Markdown."""
        parts = [f"## {self.title}", *self.said, *(table.markdown() for table in self.tables)]
        if self.notes:
            parts.append("\n".join(f"- {note}" for note in self.notes))
        return "\n\n".join(parts)


def document(title: str, said: Sequence[str], sections: Sequence[Section]) -> str:
    """The whole, which ends with a line break."""
    parts = [f"# {title}", *said, *(section.markdown() for section in sections)]
    return "\n\n".join(parts) + "\n"


def target(what: str, *, met: bool) -> str:
    """A line that says what was to be reached, and whether it was."""
    return f"Target, {what}: **{'met' if met else 'missed'}**."
