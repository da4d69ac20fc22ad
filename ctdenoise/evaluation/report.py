"""A self-contained page that one would rather look at than read."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ctdenoise import __version__
from ctdenoise.derived.atomic import atomic_file
from ctdenoise.evaluation import plots
from ctdenoise.evaluation.grid import Grid
from ctdenoise.evaluation.images import WINDOWS, Reference
from ctdenoise.evaluation.methods import Method, Seen
from ctdenoise.evaluation.metrics import NOISE_TISSUE
from ctdenoise.evaluation.noises import Noise
from ctdenoise.evaluation.phantom import Phantom
from ctdenoise.evaluation.pictures import Pictures
from ctdenoise.evaluation.subjects import noisy_image
from ctdenoise.evaluation.summary import (
    NOISY,
    Column,
    Mean,
    gap_lines,
    kinds_of,
    means,
    said_of,
    table_of,
)
from ctdenoise.evaluation.table import FAILED, Row, by_metric
from ctdenoise.hounsfield import HU, TISSUE_CLASSES, HUWindow, tissue_masks

_PHOTOGRAPH = {"photograph": HUWindow(0.0, 1.0)}
_PHANTOM_WINDOW = HUWindow(-60.0, 140.0)
_WORST_SHOWN = 5
_STYLE = """
:root{color-scheme:dark}body{margin:0;background:#101418;color:#dde3ea;
font:15px/1.5 system-ui,sans-serif}main{max-width:1180px;margin:auto;padding:1.5rem}
h1{font-weight:600}h2{margin-top:2.5rem;border-bottom:1px solid #2b333c}
.note{color:#97a3b0}table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .8rem;
text-align:right;border-bottom:1px solid #2b333c}td:first-child,th:first-child{text-align:left}
.best{color:#f6b26b;font-weight:600}.wide{overflow-x:auto}
.row{display:flex;flex-wrap:wrap;gap:1rem;margin:1rem 0}.row figure{margin:0;flex:1 1 300px;
max-width:520px}.small figure{flex:0 1 215px}figcaption{color:#97a3b0;font-size:13px}
img{width:100%;display:block}.both{position:relative}
.both .after{position:absolute;inset:0;clip-path:inset(0 0 0 50%)}
input{width:100%}svg{max-width:100%;height:auto}a{color:#6fa8dc}
"""


def write_report(path: Path, grid: Grid, rows: Sequence[Row], *, paper: bool = False) -> None:
    """Write the page of a finished evaluation, whole or not at all."""
    pictures = Pictures()
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>ctdenoise: evaluation</title>",
        f"<style>{_STYLE}</style><main><h1>Evaluation of denoisers</h1>",
        f"<p class='note'>ctdenoise {__version__}. For research only: not a medical device. "
        "Bars and brackets are 95 % intervals by bootstrap. <i>identity</i> is the noisy image "
        "itself.</p><noscript>The images need JavaScript.</noscript>",
    ]
    kinds = kinds_of(rows)
    parts += [_overview(rows, kind, paper=paper) for kind in kinds]
    for kind in kinds:
        for noise in grid.noises:
            mine = [r for r in rows if r.kind == kind and r.noise == str(noise)]
            if any(r.metric != FAILED for r in mine):
                parts += _section(kind, noise, grid, mine, pictures, paper=paper)
    gaps = gap_lines(rows)
    if gaps:
        parts += ["<h2>Gaps</h2><ul>", *(f"<li>{_text(line)}</li>" for line in gaps), "</ul>"]
    parts.append(f"</main>{pictures.script()}</html>")
    with atomic_file(path) as partial:
        partial.write_text("\n".join(parts), encoding="utf-8")


def _overview(rows: Sequence[Row], kind: str, *, paper: bool) -> str:
    """Methods by noise: the first figure of each table, the best of each noise marked."""
    noises = list(dict.fromkeys(r.noise for r in rows if r.kind == kind))
    first = {noise: table_of(kind, noise, paper=paper)[0] for noise in noises}
    found = {noise: means(rows, kind, noise, first[noise]) for noise in noises}
    methods = dict.fromkeys(method for noise in noises for method in found[noise])
    if not methods:
        return ""
    lines = [f"<h2>{_text(kind)}: {_text(first[noises[0]].label)}</h2><div class='wide'><table>"]
    lines.append("<tr><th>method</th>")
    lines += [f"<th><a href='#{kind}-{i}'>{_text(n)}</a></th>" for i, n in enumerate(noises)]
    for method in methods:
        lines.append(f"</tr><tr><td>{_text(method)}</td>")
        lines += [_cell(found[noise], method) for noise in noises]
    return "".join(lines) + "</tr></table></div>"


def _cell(found: dict[str, Mean], method: str) -> str:
    if method not in found:
        return "<td>-</td>"
    best = " class='best'" if method == next(iter(found)) else ""
    return f"<td{best}>{_text(str(found[method]))}</td>"


def _section(
    kind: str,
    noise: Noise,
    grid: Grid,
    rows: Sequence[Row],
    pictures: Pictures,
    *,
    paper: bool,
) -> list[str]:
    columns = table_of(kind, str(noise), paper=paper)
    found = [(c, means(rows, kind, str(noise), c)) for c in columns if c.plotted]
    found = [(c, one) for c, one in found if one]
    place = list(map(str, grid.noises)).index(str(noise))
    parts = [
        f"<h2 id='{kind}-{place}'>{_text(kind)}, {_text(str(noise))}</h2>",
        f"<p class='note'>{_text(said_of(rows, kind, str(noise)))}</p>",
    ]
    if found and kind != "phantom":
        parts.append(plots.ranking([c for c, _ in found], [one for _, one in found]))
    if kind == "phantom" and grid.phantom is not None:
        parts += _phantom(grid, grid.phantom, noise, rows, pictures)
        return parts
    if kind == "ct":
        parts.append(_bias(rows))
        title = "soft tissue: noise power before and after, mean of the images"
        parts.append(plots.noise_spectra(rows, NOISE_TISSUE, title))
    worst = _worst(columns[0], grid, rows)
    if worst:
        parts.append(_worst_table(columns[0], worst, rows))
        reference = worst[0][0]
        parts += _panels(kind, noise, reference, worst[0][1], grid, rows, pictures)
    return parts


def _settings(rows: Sequence[Row]) -> dict[str, float]:
    return {row.method: row.setting for row in rows if row.metric != FAILED}


def _try(method: Method, seen: Seen, setting: float) -> HU | None:
    try:
        return method.function(seen, setting)
    except Exception:  # it is among the gaps already
        return None


def _bias(rows: Sequence[Row]) -> str:
    lines = ["<table><tr><th>mean change in HU</th>"]
    lines += [f"<th>{name.replace('_', ' ')}</th>" for name in TISSUE_CLASSES]
    for method in dict.fromkeys(row.method for row in rows):
        lines.append(f"</tr><tr><td>{_text(method)}</td>")
        for name in TISSUE_CLASSES:
            found = [r.value for r in by_metric(rows, "bias", name) if r.method == method]
            lines.append(f"<td>{np.mean(found):+.2f}</td>" if found else "<td>-</td>")
    return "".join(lines) + "</tr></table>"


def _phantom(
    grid: Grid, phantom: Phantom, noise: Noise, rows: Sequence[Row], pictures: Pictures
) -> list[str]:
    """What the phantom shows: sharpness, detectability, texture, and one scan to look at."""
    parts = [
        plots.transfer_functions(rows),
        plots.detectability(rows, str(noise)),
        plots.noise_spectra(rows, "uniform", "uniform region: noise power before and after"),
        _numbers(rows, str(noise)),
        "<div class='row small'>",
        pictures.figure(phantom.truth[1], _PHANTOM_WINDOW, "truth, -60 to 140 HU"),
    ]
    scan = phantom.noisy(True, noise, 0)
    seen = Seen(scan, phantom.padding, "ct", scan - phantom.truth[1])
    settings = _settings(rows)
    for method in sorted(grid.methods, key=lambda m: m.name != NOISY):
        made = _try(method, seen, settings[method.name]) if method.name in settings else None
        if made is not None:
            parts.append(pictures.figure(made, _PHANTOM_WINDOW, method.name))
    return [*parts, "</div>"]


def _numbers(rows: Sequence[Row], noise: str) -> str:
    columns = [c for c in table_of("phantom", noise) if c.metric != "auc"]
    found = {column: means(rows, "phantom", noise, column) for column in columns}
    lines = ["<div class='wide'><table><tr><th>method</th>"]
    lines += [f"<th>{_text(column.label)}</th>" for column in columns]
    for method in dict.fromkeys(row.method for row in rows):
        lines.append(f"</tr><tr><td>{_text(method)}</td>")
        lines += [
            f"<td>{found[c][method]}</td>" if method in found[c] else "<td>-</td>" for c in columns
        ]
    return "".join(lines) + "</tr></table></div>"


def _worst(column: Column, grid: Grid, rows: Sequence[Row]) -> list[tuple[Reference, int, float]]:
    """Where the first method that does anything does worst: images, seeds and its figure."""
    names = [m.name for m in grid.methods if m.name != NOISY] or [NOISY]
    found = [r for r in by_metric(rows, column.metric, column.where) if r.method == names[0]]
    found = [r for r in found if np.isfinite(r.value)]
    found.sort(key=lambda r: r.value, reverse=not column.more)
    by_name = {(r.name, r.group): r for r in grid.judged}
    return [(by_name[row.image, row.group], row.seed, row.value) for row in found[:_WORST_SHOWN]]


def _worst_table(
    column: Column, worst: Sequence[tuple[Reference, int, float]], rows: Sequence[Row]
) -> str:
    methods = list(dict.fromkeys(row.method for row in rows))
    lines = [f"<h3>Worst cases: {_text(column.label)}</h3><div class='wide'><table>"]
    lines.append("<tr><th>image</th>")
    lines += [f"<th>{_text(method)}</th>" for method in methods]
    chosen = {
        (r.image, r.group, r.seed, r.method): r.value
        for r in by_metric(rows, column.metric, column.where)
    }
    for reference, seed, _ in worst:
        lines.append(f"</tr><tr><td>{_text(f'{reference.group}: {reference.name}')}</td>")
        for method in methods:
            value = chosen.get((reference.name, reference.group, seed, method))
            lines.append("<td>-</td>" if value is None else f"<td>{value:.3g}</td>")
    return "".join(lines) + "</tr></table></div>"


def _panels(
    kind: str,
    noise: Noise,
    reference: Reference,
    seed: int,
    grid: Grid,
    rows: Sequence[Row],
    pictures: Pictures,
) -> list[str]:
    """The worst case, before, after and their difference, by method and window."""
    image, padding, seen = noisy_image(reference, noise, seed)
    settings = _settings(rows)
    shown = {
        method.name: made
        for method in grid.methods
        if method.name != NOISY
        and method.name in settings
        and (made := _try(method, seen, settings[method.name])) is not None
    }
    windows = dict(WINDOWS if kind == "ct" else _PHOTOGRAPH)
    if kind == "ct" and tissue_masks(image, padding)["lung"].mean() < 0.02:
        del windows["lung"]
    parts = [f"<h3>The worst: {_text(reference.group)}, {_text(reference.name)}</h3>"]
    unit = " HU" if kind == "ct" else ""
    for name, window in windows.items():
        where = "" if kind == "photograph" else f", {name} {window.lower:g} to {window.upper:g} HU"
        parts.append("<div class='row'>")
        if seen.truth is not None:
            parts.append(pictures.figure(image, window, f"reference{where}"))
        half = 0.25 * window.width
        for method, made in shown.items():
            parts.append(pictures.before_after(seen.noisy, made, window, f"{method}{where}"))
            text = f"{method}: what was removed, ±{half:g}{unit}"
            parts.append(pictures.figure(seen.noisy - made, HUWindow(-half, half), text))
        parts.append("</div>")
    return parts


def _text(value: str) -> str:
    return html.escape(value, quote=True)
