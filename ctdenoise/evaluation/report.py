"""A self-contained page that one would rather look at than read."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from ctdenoise import __version__
from ctdenoise.derived.atomic import atomic_file
from ctdenoise.evaluation.grid import FAILED, Grid, Row, by_metric, noisy_image
from ctdenoise.evaluation.images import WINDOWS, Noise, Reference
from ctdenoise.evaluation.methods import Method, Seen
from ctdenoise.evaluation.metrics import NOISE_TISSUE
from ctdenoise.evaluation.summary import MAIN, ranking
from ctdenoise.evaluation.texture import flat_patches, spectrum_within
from ctdenoise.hounsfield import HU, TISSUE_CLASSES, HUWindow, Mask, tissue_masks

_PHOTOGRAPH = {"photograph": HUWindow(0.0, 1.0)}
_STYLE = """
:root{color-scheme:dark}body{margin:0;background:#101418;color:#dde3ea;
font:15px/1.5 system-ui,sans-serif}main{max-width:1180px;margin:auto;padding:1.5rem}
h1{font-weight:600}h2{margin-top:2.5rem;border-bottom:1px solid #2b333c}
.note{color:#97a3b0}.bias{border-collapse:collapse}.bias td,.bias th{padding:.2rem .8rem;
text-align:right;border-bottom:1px solid #2b333c}.bias :first-child{text-align:left}
.row{display:flex;flex-wrap:wrap;gap:1rem;margin:1rem 0}.row figure{margin:0;flex:1 1 340px;
max-width:560px}figcaption{color:#97a3b0;font-size:13px}img{width:100%;display:block}
.both{position:relative}.both .after{position:absolute;inset:0;clip-path:inset(0 0 0 50%)}
input{width:100%}
"""
_SCRIPT = """
document.querySelectorAll('.slide').forEach(s=>s.addEventListener('input',()=>{
s.parentNode.querySelector('.after').style.clipPath='inset(0 0 0 '+s.value+'%)'}))
"""


def write_report(path: Path, grid: Grid, rows: Sequence[Row]) -> None:
    """Write the page of a finished evaluation, whole or not at all."""
    matplotlib.rcParams.update({"svg.hashsalt": "ctdenoise", "font.size": 9})
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>ctdenoise: evaluation</title>",
        f"<style>{_STYLE}</style><main><h1>Evaluation of denoisers</h1>",
        f"<p class='note'>ctdenoise {__version__}. For research only: not a medical device. "
        "Bars are 95 % intervals by bootstrap, over groups (patients, photographs) where there are "
        "three or more, else over images.</p>",
    ]
    for kind in MAIN:
        for noise in grid.noises:
            mine = [r for r in rows if r.kind == kind and r.noise == str(noise)]
            if any(r.metric != FAILED for r in mine):
                parts.append(_section(kind, noise, grid, mine))
    failed = [row for row in rows if row.metric == FAILED]
    if failed:
        parts.append("<h2>Gaps</h2><ul>")
        parts += [
            f"<li>{_text(f'{r.image}, {r.noise}, {r.method}: {r.where}')}</li>" for r in failed
        ]
        parts.append("</ul>")
    parts.append(f"</main><script>{_SCRIPT}</script></html>")
    with atomic_file(path) as partial:
        partial.write_text("\n".join(parts), encoding="utf-8")


def _section(kind: str, noise: Noise, grid: Grid, rows: Sequence[Row]) -> str:
    parts = [f"<h2>{_text(kind)}, {_text(str(noise))}</h2>", _ranking(kind, noise, rows)]
    if kind == "ct":
        parts.append(_bias(rows))
    worst = _worst(kind, grid, rows)
    if worst is not None:
        reference, seed = worst
        image, padding, seen = noisy_image(reference, noise, seed)
        settings = {r.method: r.setting for r in rows if r.metric != FAILED}
        shown = {
            method.name: _try(method, seen, settings[method.name])
            for method in grid.methods
            if method.name in settings
        }
        known = {name: made for name, made in shown.items() if made is not None}
        if kind == "ct":
            parts.append(_spectra(reference, image, padding, seen, known))
        parts.append(_panels(kind, reference, image, seen, known))
    return "\n".join(parts)


def _try(method: Method, seen: Seen, setting: float) -> HU | None:
    try:
        return method.function(seen, setting)
    except Exception:  # it is among the gaps already
        return None


def _ranking(kind: str, noise: Noise, rows: Sequence[Row]) -> str:
    columns = [c for c in MAIN[kind] if c[0] in ("psnr", "ssim", "rmse_ratio")]
    figure = Figure(figsize=(11, 0.5 + 0.32 * len({r.method for r in rows})), layout="constrained")
    axes = figure.subplots(1, len(columns), squeeze=False)[0]
    for axis, (metric, where, more) in zip(axes, columns, strict=True):
        ranked = ranking(rows, kind, str(noise), metric, where, more)[::-1]
        for place, (_, mean) in enumerate(ranked):
            if np.isfinite(mean.lower):
                axis.plot(
                    [mean.lower, mean.upper], [place, place], color="#6fa8dc", lw=5, alpha=0.5
                )
            axis.plot(mean.value, place, "o", color="#f6b26b")
            axis.annotate(
                f"{mean.value:.3g}", (mean.value, place), (0, 6), textcoords="offset points",
                ha="center", fontsize=7, color="#dde3ea",
            )  # fmt: skip
        axis.set_yticks(range(len(ranked)), [name for name, _ in ranked])
        axis.set_ylim(-0.6, len(ranked) - 0.2)
        axis.set_title(f"{metric}, {where} ({'more' if more else 'less'} is better)", fontsize=9)
        _dark(axis)
    return _svg(figure)


def _bias(rows: Sequence[Row]) -> str:
    lines = ["<table class='bias'><tr><th>mean change in HU</th>"]
    lines += [f"<th>{name.replace('_', ' ')}</th>" for name in TISSUE_CLASSES]
    for method in dict.fromkeys(row.method for row in rows):
        lines.append(f"</tr><tr><td>{_text(method)}</td>")
        for name in TISSUE_CLASSES:
            found = [r.value for r in by_metric(rows, "bias", name) if r.method == method]
            lines.append(f"<td>{np.mean(found):+.2f}</td>" if found else "<td>-</td>")
    return "".join(lines) + "</tr></table>"


def _worst(kind: str, grid: Grid, rows: Sequence[Row]) -> tuple[Reference, int] | None:
    """Where the first method that does anything does worst."""
    metric, where, more = MAIN[kind][0]
    names = [m.name for m in grid.methods if m.name != "identity"] or ["identity"]
    found = [r for r in by_metric(rows, metric, where) if r.method == names[0]]
    found = [r for r in found if np.isfinite(r.value)]
    if not found:
        return None
    row = (min if more else max)(found, key=lambda r: r.value)
    for reference in grid.references:
        if (reference.name, reference.group) == (row.image, row.group):
            return reference, row.seed
    return None


def _spectra(
    reference: Reference, image: HU, padding: Mask, seen: Seen, shown: dict[str, HU]
) -> str:
    mask = tissue_masks(image, padding)[NOISE_TISSUE]
    if not flat_patches(mask):
        return "<p class='note'>Too little soft tissue for a noise power spectrum.</p>"
    figure = Figure(figsize=(7, 3), layout="constrained")
    axis = figure.subplots()
    for name, made in {"noisy": seen.noisy, **shown}.items():
        nps = spectrum_within(made - image, mask, reference.spacing)
        if name != "identity" and nps is not None and nps.power.max() > 0:
            axis.semilogy(nps.frequency, nps.power, label=name)
    axis.set_xlabel("spatial frequency, 1/mm")
    axis.set_ylabel("power of the error, HU² mm²")
    axis.legend(fontsize=7)
    axis.set_title("radial noise power spectrum, soft tissue of the worst case", fontsize=9)
    _dark(axis)
    return _svg(figure)


def _panels(kind: str, reference: Reference, image: HU, seen: Seen, shown: dict[str, HU]) -> str:
    windows = WINDOWS if kind == "ct" else _PHOTOGRAPH
    parts = [f"<h3>Worst case: {_text(reference.group)}, {_text(reference.name)}</h3>"]
    for name, window in windows.items():
        where = "" if kind == "photograph" else f", {name} {window.lower:g} to {window.upper:g} HU"
        parts.append("<div class='row'>")
        parts.append(_plain(image, window, f"reference{where}"))
        noisy = _png(seen.noisy, window)
        for method, made in shown.items():
            if method == "identity":
                continue
            parts.append(
                "<figure><div class='both'>"
                f"<img src='{noisy}' alt='noisy'>"
                f"<img class='after' src='{_png(made, window)}' alt='{_text(method)}'></div>"
                "<input class='slide' type='range' value='50' aria-label='noisy or denoised'>"
                f"<figcaption>noisy | {_text(method)}{where}</figcaption></figure>"
            )
            half = 0.25 * window.width
            difference = HUWindow(-half, half)
            unit = " HU" if kind == "ct" else ""
            text = f"{_text(method)}: what was removed, ±{half:g}{unit}"
            parts.append(_plain(seen.noisy - made, difference, text))
        parts.append("</div>")
    return "\n".join(parts)


def _plain(image: HU, window: HUWindow, text: str) -> str:
    return (
        f"<figure><img src='{_png(image, window)}' alt=''><figcaption>{text}</figcaption></figure>"
    )


def _png(image: NDArray[np.float64], window: HUWindow) -> str:
    gray = (np.clip(window.to_unit(image), 0.0, 1.0) * 255.0).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(gray).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _svg(figure: Figure) -> str:
    figure.set_facecolor("#101418")
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _dark(axis: matplotlib.axes.Axes) -> None:
    axis.set_facecolor("#161c22")
    axis.tick_params(colors="#97a3b0")
    for item in (axis.title, axis.xaxis.label, axis.yaxis.label):
        item.set_color("#dde3ea")
    for spine in axis.spines.values():
        spine.set_color("#2b333c")


def _text(value: str) -> str:
    return html.escape(value, quote=True)
