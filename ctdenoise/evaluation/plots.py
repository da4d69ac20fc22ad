"""Plots of a report, as SVG that goes into the page itself."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib
import matplotlib.axes
import numpy as np
from matplotlib.figure import Figure

from ctdenoise.evaluation.phantom import DISCS, LESIONS
from ctdenoise.evaluation.summary import NOISY, TABLES, Column, Mean, means
from ctdenoise.evaluation.table import Row, by_metric

_BACK, _PANEL, _LINE, _TEXT, _FAINT = "#101418", "#161c22", "#2b333c", "#dde3ea", "#97a3b0"
_BAR, _DOT = "#6fa8dc", "#f6b26b"
_COLOURS = ("#f6b26b", "#6fa8dc", "#93c47d", "#e06666", "#8e7cc3", "#76d7c4", "#ffd966", "#c27ba0")


def ranking(columns: Sequence[Column], found: Sequence[Mapping[str, Mean]]) -> str:
    """Methods by rank for each figure, with intervals; the noisy image is the dashed line."""
    most = max(len(one) for one in found)
    figure = _figure(11, 0.6 + 0.3 * most)
    axes = figure.subplots(1, len(columns), squeeze=False)[0]
    for axis, column, one in zip(axes, columns, found, strict=True):
        ranked = list(one.items())[::-1]
        for place, (_, mean) in enumerate(ranked):
            if np.isfinite(mean.lower):
                axis.plot([mean.lower, mean.upper], [place] * 2, color=_BAR, lw=5, alpha=0.5)
            axis.plot(mean.value, place, "o", color=_DOT)
            axis.annotate(
                f"{mean.value:.3g}", (mean.value, place), (0, 6), textcoords="offset points",
                ha="center", fontsize=7, color=_TEXT,
            )  # fmt: skip
        if NOISY in one and np.isfinite(one[NOISY].value):
            axis.axvline(one[NOISY].value, color=_FAINT, lw=0.8, ls="--")
        axis.set_yticks(range(len(ranked)), [name for name, _ in ranked])
        axis.set_ylim(-0.6, max(len(ranked), 1) - 0.2)
        better = {True: " (more is better)", False: " (less is better)", None: ""}[column.more]
        axis.set_title(column.label + better, fontsize=8.5)
        _dark(axis)
    return _svg(figure)


def noise_spectra(rows: Sequence[Row], where: str, title: str) -> str:
    """Radial noise power spectra of the methods' errors; dashed before, lines after."""
    curves = _curves(rows, "nps", where)
    if not curves:
        return ""
    figure = _figure(7, 3)
    axis = figure.subplots()
    _plot(axis, curves, logarithmic=True)
    axis.set_xlabel("spatial frequency, 1/mm")
    axis.set_ylabel("noise power, HU² mm²")
    axis.set_title(title, fontsize=9)
    axis.legend(fontsize=7, labelcolor=_TEXT, facecolor=_PANEL, edgecolor=_LINE)
    _dark(axis)
    return _svg(figure)


def transfer_functions(rows: Sequence[Row]) -> str:
    """Task transfer functions, a panel a contrast; dashed before, lines after."""
    names = [f"{disc:+g} HU" for disc in DISCS]
    curves = {name: _curves(rows, "ttf", name) for name in names}
    figure = _figure(11, 2.8)
    for axis, name in zip(figure.subplots(1, len(names), sharey=True), names, strict=True):
        _plot(axis, curves[name], logarithmic=False)
        axis.set_ylim(0, 1.3)
        axis.set_title(f"TTF, disc of {name}", fontsize=8.5)
        axis.set_xlabel("1/mm")
        _dark(axis)
    axis.legend(fontsize=6, labelcolor=_TEXT, facecolor=_PANEL, edgecolor=_LINE)
    return _svg(figure)


def detectability(rows: Sequence[Row], noise: str) -> str:
    """AUC of the observer by lesion and method, with intervals."""
    columns = [c for c in TABLES["phantom"] if c.metric == "auc"]
    found = [means(rows, "phantom", noise, column) for column in columns]
    methods = sorted({name for one in found for name in one}, key=lambda m: (m != NOISY, m))
    if not methods:
        return ""
    figure = _figure(9, 2.6)
    axis = figure.subplots()
    for m, method in enumerate(methods):
        at = np.arange(len(LESIONS)) + 0.7 * (m - (len(methods) - 1) / 2) / len(methods)
        mean = [one.get(method) for one in found]
        value = [x.value if x else np.nan for x in mean]
        errors = [
            [x.value - x.lower if x else 0.0 for x in mean],
            [x.upper - x.value if x else 0.0 for x in mean],
        ]
        colour = _FAINT if method == NOISY else _COLOURS[m % len(_COLOURS)]
        axis.errorbar(at, value, errors, fmt="o", ms=5, color=colour, label=method, capsize=2)
    axis.axhline(0.5, color=_FAINT, lw=0.8, ls=":")
    axis.set_xticks(range(len(columns)), [c.where for c in columns])
    axis.set_title("channelized Hotelling observer: AUC with 95 % intervals", fontsize=9)
    axis.legend(fontsize=7, labelcolor=_TEXT, facecolor=_PANEL, edgecolor=_LINE, ncols=2)
    _dark(axis)
    return _svg(figure)


def _curves(
    rows: Sequence[Row], metric: str, where: str
) -> dict[str, tuple[list[float], list[float]]]:
    """Mean over images of a curve, by method."""
    values: dict[str, dict[float, list[float]]] = {}
    for row in by_metric(rows, metric, where):
        values.setdefault(row.method, {}).setdefault(round(row.at, 6), []).append(row.value)
    return {
        method: (sorted(found), [float(np.mean(found[at])) for at in sorted(found)])
        for method, found in values.items()
    }


def _plot(
    axis: matplotlib.axes.Axes,
    curves: Mapping[str, tuple[list[float], list[float]]],
    *,
    logarithmic: bool,
) -> None:
    draw = axis.semilogy if logarithmic else axis.plot
    for i, (method, (at, value)) in enumerate(curves.items()):
        if logarithmic and max(value) <= 0:
            continue
        if method == NOISY:
            draw(at, value, "--", color=_TEXT, label="before (noisy)")
        else:
            draw(at, value, color=_COLOURS[i % len(_COLOURS)], label=method)


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), layout="constrained", facecolor=_BACK)


def _svg(figure: Figure) -> str:
    with matplotlib.rc_context({"svg.hashsalt": "ctdenoise", "font.size": 9}):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _dark(axis: matplotlib.axes.Axes) -> None:
    axis.set_facecolor(_PANEL)
    axis.tick_params(colors=_FAINT)
    for item in (axis.title, axis.xaxis.label, axis.yaxis.label):
        item.set_color(_TEXT)
    for spine in axis.spines.values():
        spine.set_color(_LINE)
