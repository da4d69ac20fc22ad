"""A self-contained page: how many series are done, their noise and seconds, and what failed."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

from ctdenoise import __version__
from ctdenoise.cohort.table import CSV, Row
from ctdenoise.derived.atomic import atomic_file

SUMMARY = "summary.html"
_BINS = 24
_MOST_FAILURES = 1000
_STYLE = """
:root{color-scheme:dark}body{margin:0;background:#101418;color:#dde3ea;
font:15px/1.5 system-ui,sans-serif}main{max-width:980px;margin:auto;padding:1.5rem}
h1{font-weight:600}h2{margin-top:2rem;border-bottom:1px solid #2b333c}
.note{color:#97a3b0}table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .8rem;
text-align:left;border-bottom:1px solid #2b333c;vertical-align:top}
.before{fill:#6fa8dc}.after{fill:#f6b26b;fill-opacity:.75}svg{max-width:100%;height:auto}
svg text{fill:#97a3b0;font-size:11px}b.before{color:#6fa8dc}b.after{color:#f6b26b}
"""


def write_summary(
    output: Path, rows: Sequence[Row], left_out: Mapping[str, int], seconds: float
) -> None:
    """Write the page of a cohort into its folder, whole or not at all.

    Args:
        output: of the cohort.
        rows: of the table.
        left_out: files that take no part, by reason.
        seconds: that this run took.

    Raises:
        OSError: it cannot be written.
    """
    done = [row for row in rows if row.status == "done"]
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>ctdenoise: cohort</title>",
        f"<style>{_STYLE}</style><main><h1>A cohort, denoised</h1>",
        f"<p class='note'>ctdenoise {__version__}. For research only: not a medical device. "
        f"All rows are in {CSV}.</p>",
        _table(("status", "rows"), Counter(row.status for row in rows).most_common()),
        f"<p>{len(done)} series with {sum(row.slices for row in done)} slices are done, "
        f"{sum(row.tries > 0 for row in done)} of them in this run, in {seconds:.0f} s.</p>",
        "<h2>Noise</h2><p><b class='before'>before</b> and <b class='after'>after</b>, HU</p>",
        _histogram(
            {
                "before": _known(row.noise_before_hu for row in done),
                "after": _known(row.noise_after_hu for row in done),
            },
            "HU",
        ),
        "<h2>Time</h2>",
        _histogram({"before": _known(row.seconds for row in done)}, "s a series"),
    ]
    bad = [row for row in rows if row.status != "done"]
    if bad:
        parts += [
            f"<h2>Not done: {len(bad)}</h2>",
            _table(
                ("input", "id", "series", "status", "reason", "tries"),
                [
                    (row.input, row.id, row.series_uid, row.status, row.reason, row.tries)
                    for row in bad[:_MOST_FAILURES]
                ],
            ),
        ]
    if len(bad) > _MOST_FAILURES:
        parts.append(f"<p>The rest of them is in {CSV}.</p>")
    if left_out:
        parts += ["<h2>Files left out</h2>", _table(("reason", "files"), sorted(left_out.items()))]
    parts.append("</main></html>")
    with atomic_file(output / SUMMARY) as partial:
        partial.write_text("\n".join(parts), encoding="utf-8")


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["<table><tr>", *(f"<th>{column}</th>" for column in columns), "</tr>"]
    for row in rows:
        lines += ["<tr>", *(f"<td>{html.escape(str(cell))}</td>" for cell in row), "</tr>"]
    return "".join([*lines, "</table>"])


def _histogram(groups: Mapping[str, Sequence[float]], unit: str) -> str:
    """Bars of several groups over one another; the name of a group is the class of its bars."""
    everything = [value for values in groups.values() for value in values]
    if not everything:
        return "<p class='note'>nothing to show</p>"
    # Some series are far out: they are in the last bar.
    top = min(max(everything), 4 * median(everything)) or 1.0
    width, height, step = 720, 160, 720 // _BINS
    bars = {
        name: Counter(min(int(_BINS * value / top), _BINS - 1) for value in values)
        for name, values in groups.items()
    }
    most = max(max(counts.values(), default=0) for counts in bars.values())
    parts = [f"<svg viewBox='0 0 {width} {height + 20}' role='img'>"]
    for name, counts in bars.items():
        for place, count in sorted(counts.items()):
            tall = height * count / most
            parts.append(
                f"<rect class='{name}' x='{place * step}' y='{height - tall:.1f}' "
                f"width='{step - 2}' height='{tall:.1f}'><title>{count}</title></rect>"
            )
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        anchor = "start" if share == 0 else "end" if share == 1 else "middle"
        more = " and more" if share == 1 and top < max(everything) else ""
        parts.append(
            f"<text x='{share * width:.0f}' y='{height + 15}' text-anchor='{anchor}'>"
            f"{share * top:.3g} {unit}{more}</text>"
        )
    return "".join([*parts, "</svg>"])
