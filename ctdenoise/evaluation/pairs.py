"""Real pairs: the same slices at another dose or with another kernel, matched by their place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctdenoise.errors import CTDenoiseError
from ctdenoise.evaluation.images import Reference, loader
from ctdenoise.file_names import named
from ctdenoise.series import Instance, Series, find
from ctdenoise.series.frames import frame_plane
from ctdenoise.series.opening import read_header
from ctdenoise.simulate import pixel_spacing

_APART_MM = 0.01
"""Slices that are nearer than this are at one place."""

_ASIDE = 0.1
"""Share of a pixel by which the corners of a pair may differ."""


@dataclass(frozen=True)
class _Slice:
    series: Series
    instance: Instance
    frame: int
    corner: NDArray[np.float64]
    offset: float


def pairs(noisy: Path, reference: Path) -> list[Reference]:
    """Slices of a reference with those of another series at the same positions.

    Raises:
        CTDenoiseError: there is not one series at each path, no slice of one is where one of the
            other is, or slices that are differ in size or pixel spacing.
    """
    low, full = _one_series(noisy), _one_series(reference)
    spacing = pixel_spacing(full)
    if abs(pixel_spacing(low) - spacing) > 1e-3:
        raise CTDenoiseError("the pair differs in pixel spacing: its pixels do not correspond")
    there = {round(s.offset / _APART_MM): s for s in _slices(low, noisy)}
    found = [
        _pair(there[round(s.offset / _APART_MM)], s, number, spacing)
        for number, s in enumerate(_slices(full, reference), start=1)
        if round(s.offset / _APART_MM) in there
    ]
    if not found:
        raise CTDenoiseError("no slice is at the same position in --input and --reference")
    return found


def _one_series(path: Path) -> Series:
    series = find(path).series
    if len(series) != 1:
        raise CTDenoiseError(
            f"{named(path)}: holds {len(series)} CT series; a pair has one and one"
        )
    return series[0]


def _slices(series: Series, path: Path) -> list[_Slice]:
    if series.kind == "nifti":
        import nibabel

        affine = nibabel.load(series.instances[0].path).affine
        normal = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
        corners = [affine[:3, 3] + k * affine[:3, 2] for k in range(series.slices)]
        (volume,) = series.instances
        return [
            _Slice(series, volume, k, corner, float(corner @ normal))
            for k, corner in enumerate(corners)
        ]
    found = []
    for instance in series.instances:
        header = read_header(instance.path)
        for frame in range(instance.frames):
            plane = frame_plane(header, frame)
            if plane is None:
                raise CTDenoiseError(f"{named(path)}: a series without positions cannot be paired")
            corner = np.array(plane.position)
            found.append(_Slice(series, instance, frame, corner, plane.offset))
    return found


def _pair(low: _Slice, full: _Slice, number: int, spacing: float) -> Reference:
    a, b = low.instance, full.instance
    if (a.rows, a.columns) != (b.rows, b.columns):
        raise CTDenoiseError(
            f"at {full.offset:g} mm: {a.columns}x{a.rows} and {b.columns}x{b.rows} pixels; a pair "
            "has slices of one size"
        )
    if np.abs(low.corner - full.corner).max() > max(_ASIDE * spacing, _APART_MM):
        raise CTDenoiseError(
            f"at {full.offset:g} mm: the slices begin at different corners; their pixels do not "
            "correspond"
        )
    return Reference(
        name=f"slice {number}",
        group="patient 1",
        identity=f"{low.series.uid} {full.series.uid}",
        kind="ct",
        load=loader(full.series, full.instance, full.frame),
        spacing=spacing,
        partner=loader(low.series, low.instance, low.frame),
    )
