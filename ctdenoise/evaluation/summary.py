"""Means with their intervals, as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import bootstrap

from ctdenoise.evaluation.grid import FAILED, Row, by_metric

MAIN: dict[str, tuple[tuple[str, str, bool], ...]] = {
    "photograph": (("psnr", "all", True), ("ssim", "all", True)),
    "ct": (
        ("rmse_ratio", "fat_and_soft_tissue", False),
        ("rmse_ratio", "lung", False),
        ("ssim", "soft tissue", True),
        ("bias", "fat_and_soft_tissue", False),
        ("bias", "lung", False),
        ("bias", "bone", False),
        ("nps_mean_frequency", "fat_and_soft_tissue", True),
        ("residual_on_edges", "all", False),
    ),
}
"""Figures of the table by kind: metric, where, and whether more is better. The first ranks."""


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
        return Mean(float("nan"), float("nan"), float("nan"), 0)
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


def ranking(
    rows: Sequence[Row], kind: str, noise: str, metric: str, where: str, more: bool
) -> list[tuple[str, Mean]]:
    """Methods with their means of one figure, the best first."""
    chosen = [r for r in by_metric(rows, metric, where) if r.kind == kind and r.noise == noise]
    methods = dict.fromkeys(row.method for row in chosen)
    means = [(m, mean_with_interval([r for r in chosen if r.method == m])) for m in methods]
    known = [pair for pair in means if pair[1].images]
    return sorted(known, key=lambda pair: pair[1].value, reverse=more)


def markdown(rows: Sequence[Row]) -> str:
    """A table for each kind of image and noise, methods by rank, and what has failed."""
    parts = []
    for kind, columns in MAIN.items():
        for noise in dict.fromkeys(row.noise for row in rows if row.kind == kind):
            parts.append(_table(rows, kind, noise, columns))
    failed = [row for row in rows if row.metric == FAILED]
    if failed:
        parts.append("\n".join(["## Gaps", "", *(_gap(row) for row in failed)]))
    return "\n\n".join(parts) + "\n"


def _table(
    rows: Sequence[Row], kind: str, noise: str, columns: Sequence[tuple[str, str, bool]]
) -> str:
    means = {column[:2]: dict(ranking(rows, kind, noise, *column)) for column in columns}
    columns = [column for column in columns if means[column[:2]]]
    if not columns:
        return f"## {kind}, {noise}\n\nNo figures."
    judged = [r for r in rows if r.kind == kind and r.noise == noise and r.metric != FAILED]
    groups = {row.group for row in judged}
    count = len({(r.group, r.image) for r in judged})
    lines = [
        f"## {kind}, {noise}",
        "",
        f"{count} images of {len(groups)} groups; 95 % intervals by bootstrap over "
        + ("groups." if len(groups) >= 3 else "images, which of one patient are not independent."),
        "",
        "| method | " + " | ".join(f"{m}, {w}" for m, w, _ in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for method in means[columns[0][:2]]:
        nothing = Mean(float("nan"), float("nan"), float("nan"), 0)
        cells = [str(means[column[:2]].get(method, nothing)) for column in columns]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _gap(row: Row) -> str:
    return f"- {row.image}, {row.noise}, seed {row.seed}, {row.method}: {row.where}"
