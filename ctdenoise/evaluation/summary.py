"""Means with their intervals, as Markdown tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy.stats import bootstrap

from ctdenoise.evaluation.metrics import PAPER, TOO_FEW
from ctdenoise.evaluation.noises import AS_IS
from ctdenoise.evaluation.phantom import DISCS, LESIONS, Lesion
from ctdenoise.evaluation.table import FAILED, Row, by_metric

NOISY = "identity"
"""The method that does nothing: its figures are those of the noisy image."""


@dataclass(frozen=True)
class Column:
    """A figure that a table shows.

    Attributes:
        metric: its name.
        where: window, tissue class, or object.
        label: for readers.
        more: whether more is better; None where neither is.
        plotted: whether the page has a plot of it.
    """

    metric: str
    where: str
    label: str
    more: bool | None = None
    plotted: bool = False


_SOFT = "fat_and_soft_tissue"
_BIAS = tuple(
    Column("bias", where, f"bias {label}, HU")
    for where, label in (("lung", "lung"), (_SOFT, "soft"), ("bone", "bone"))
)
_LESIONS = tuple(str(Lesion(*lesion, ())) for lesion in LESIONS)

TABLES: Mapping[str, Sequence[Column]] = MappingProxyType(
    {
        "photograph": (
            Column("psnr", "all", "PSNR, dB", more=True, plotted=True),
            Column("ssim", "all", "SSIM", more=True, plotted=True),
            Column("vif", "all", "VIF", more=True),
            Column("gmsd", "all", "GMSD", more=False),
            Column("fsim", "all", "FSIM", more=True),
        ),
        "ct": (
            Column("rmse_ratio", _SOFT, "RMSE over noisy, soft", more=False, plotted=True),
            Column("rmse_ratio", "lung", "RMSE over noisy, lung", more=False, plotted=True),
            Column("rmse_ratio", "bone", "RMSE over noisy, bone", more=False),
            Column("ssim", "soft tissue", "SSIM, soft window", more=True, plotted=True),
            Column("ssim", "lung", "SSIM, lung window", more=True),
            Column("vif", "soft tissue", "VIF, soft window", more=True),
            *_BIAS,
            Column("nps_mean_frequency", _SOFT, "error's mean frequency, 1/mm"),
            Column("residual_on_edges", "all", "residual on edges", more=False),
        ),
        "phantom": (
            Column("auc", _LESIONS[0], f"AUC {_LESIONS[0]}", more=True, plotted=True),
            *(Column("auc", x, f"AUC {x}", more=True, plotted=True) for x in _LESIONS[1:]),
            *(Column("contrast_kept", x, f"contrast kept {x}", more=True) for x in _LESIONS),
            *(
                Column("ttf_half", f"{disc:+g} HU", f"TTF 50 % {disc:+g} HU, 1/mm", more=True)
                for disc in DISCS
            ),
            Column("noise_ratio", "uniform", "noise over noisy", more=False),
            Column("nps_mean_frequency", "uniform", "noise's mean frequency, 1/mm"),
            Column("invented", "uniform", "invented, HU", more=False),
        ),
        AS_IS: (
            Column("noise_ratio", _SOFT, "noise left, soft", more=False, plotted=True),
            Column("edge_kept", "all", "slope of edges kept", more=True, plotted=True),
            *_BIAS,
            Column("nps_mean_frequency", _SOFT, "mean frequency of what is left, 1/mm"),
            Column("residual_on_edges", "all", "residual on edges", more=False),
        ),
        PAPER: (
            Column("psnr", PAPER, "PSNR, dB", more=True, plotted=True),
            Column("ssim", PAPER, "SSIM", more=True, plotted=True),
        ),
    }
)
"""Figures of each table; the first ranks."""


def table_of(kind: str, noise: str, *, paper: bool = False) -> Sequence[Column]:
    """The figures that are shown of a kind of image with a noise."""
    if paper and kind == "ct":
        return TABLES[PAPER]
    return TABLES[AS_IS if noise == AS_IS else kind]


@dataclass(frozen=True)
class Mean:
    """A mean over images, with its 95 % interval; NaN bounds where there are too few."""

    value: float
    lower: float
    upper: float
    images: int

    def __str__(self) -> str:
        if not self.images:
            return "-"
        if np.isnan(self.lower):
            return f"{self.value:.3g}"
        return f"{self.value:.3g} ({self.lower:.3g} to {self.upper:.3g})"


_NOTHING = Mean(float("nan"), float("nan"), float("nan"), 0)


def mean_with_interval(rows: Sequence[Row], seed: int = 0) -> Mean:
    """Over groups where there are three or more (patients, photographs), else over images.

    Seeds of an image are averaged first: they are not images of their own.
    """
    by_group: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        if np.isfinite(row.value):
            by_group.setdefault(row.group, {}).setdefault(row.image, []).append(row.value)
    images = [[float(np.mean(seeds)) for seeds in group.values()] for group in by_group.values()]
    count = sum(len(group) for group in images)
    if not count:
        return _NOTHING
    units = [float(np.mean(group)) for group in images]
    if len(units) < 3:
        units = [value for group in images for value in group]
    value = float(np.mean(units))
    if len(units) < 3 or np.ptp(units) == 0:
        return Mean(value, float("nan"), float("nan"), count)
    found = bootstrap(
        (np.array(units),), np.mean, n_resamples=2000, method="percentile", random_state=seed
    ).confidence_interval
    return Mean(value, float(found.low), float(found.high), count)


def means(rows: Sequence[Row], kind: str, noise: str, column: Column) -> dict[str, Mean]:
    """Means of one figure by method, the best first."""
    mine = [r for r in rows if r.kind == kind and r.noise == noise]

    def of(method: str) -> Mean:
        def chosen(metric: str) -> list[Row]:
            return [r for r in by_metric(mine, metric, column.where) if r.method == method]

        mean = mean_with_interval(chosen(column.metric))
        bounds = [chosen(f"{column.metric}_{side}") for side in ("lower", "upper")]
        if len(bounds[0]) == len(bounds[1]) == 1:  # the figure has an interval of its own
            return Mean(mean.value, bounds[0][0].value, bounds[1][0].value, mean.images)
        return mean

    found = {method: of(method) for method in dict.fromkeys(row.method for row in mine)}
    known = [pair for pair in found.items() if pair[1].images]
    return dict(sorted(known, key=lambda pair: pair[1].value, reverse=bool(column.more)))


def kinds_of(rows: Sequence[Row]) -> list[str]:
    """Kinds of images that there are figures of, in the order of :data:`TABLES`."""
    there = {row.kind for row in rows}
    return [kind for kind in TABLES if kind in there]


def markdown(rows: Sequence[Row], *, paper: bool = False) -> str:
    """A table for each kind of image and noise, methods by rank, and what has failed."""
    parts = []
    for kind in kinds_of(rows):
        for noise in dict.fromkeys(row.noise for row in rows if row.kind == kind):
            columns = table_of(kind, noise, paper=paper)
            parts.append(_table(rows, kind, noise, columns))
    gaps = gap_lines(rows)
    if gaps:
        parts.append("\n".join(["## Gaps", "", *(f"- {line}" for line in gaps)]))
    return "\n\n".join(parts) + "\n"


def gap_lines(rows: Sequence[Row]) -> list[str]:
    """What has failed, and of which tissue how many images had too little to say anything."""
    lines = [
        f"{row.image}, {row.noise}, seed {row.seed}, {row.method}: {row.where}"
        for row in rows
        if row.metric == FAILED
    ]
    few = {(r.where, r.group, r.image) for r in rows if r.metric == TOO_FEW}
    total = len({(r.group, r.image) for r in rows if r.kind == "ct"})
    for tissue in dict.fromkeys(where for where, *_ in sorted(few)):
        count = sum(where == tissue for where, *_ in few)
        lines.append(
            f"{tissue.replace('_', ' ')}: too few pixels in {count} of {total} images, which give "
            "no figure of it"
        )
    return lines


def said_of(rows: Sequence[Row], kind: str, noise: str) -> str:
    """How many images of how many groups figures are of, and what intervals are over."""
    if kind == "phantom":
        return "One phantom; the intervals of AUC are 95 %, by bootstrap over its regions."
    judged = [r for r in rows if r.kind == kind and r.noise == noise and r.metric != FAILED]
    groups = {row.group for row in judged}
    count = len({(r.group, r.image) for r in judged})
    over = "groups." if len(groups) >= 3 else "images, which of one patient are not independent."
    return f"Images: {count}, groups: {len(groups)}; 95 % intervals by bootstrap over {over}"


def _table(rows: Sequence[Row], kind: str, noise: str, columns: Sequence[Column]) -> str:
    found = {column: means(rows, kind, noise, column) for column in columns}
    columns = [column for column in columns if found[column]]
    if not columns:
        return f"## {kind}, {noise}\n\nNo figures."
    lines = [
        f"## {kind}, {noise}",
        "",
        said_of(rows, kind, noise),
        "",
        "| method | " + " | ".join(column.label for column in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for method in found[columns[0]]:
        cells = [str(found[column].get(method, _NOTHING)) for column in columns]
        name = "identity (the noisy image)" if method == NOISY else method
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
