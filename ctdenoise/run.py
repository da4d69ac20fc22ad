"""From an input path to denoised series: the whole way, one series after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydicom.uid import UID

from ctdenoise.denoiser import Denoiser, match_level
from ctdenoise.derived.atomic import create_folder
from ctdenoise.derived.conversion import open_writer
from ctdenoise.derived.provenance import Provenance
from ctdenoise.errors import CTDenoiseError, unforeseen
from ctdenoise.file_names import named
from ctdenoise.hounsfield import HU, HUWindow, Mask
from ctdenoise.level import Level
from ctdenoise.measured_noise import measure_noise
from ctdenoise.models.card import ModelCard
from ctdenoise.progress import Progress
from ctdenoise.report import RunReport, SeriesReport
from ctdenoise.series import Series, find, read_frames
from ctdenoise.stream import stream
from ctdenoise.unpacked import opened

NOISE_SAMPLE = 8
"""Slices, spread over the series, from which its noise is measured beforehand."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Everything that a user may choose for a run, beside the model and where it runs.

    Attributes:
        window: HU that become the network's [0, 1]; None matches the series' noise.
        strength: 0 to 1.
        format: format of the output; None is that of the input.
        syntax: transfer syntax that compresses DICOM without loss; None is explicit little endian.
        overwrite: replace what another run has left in the output folder.
        keep_primary: keep PRIMARY as the second value of the image type.
        keep_private: keep private attributes.
        deidentify: remove what may tell who the patient is from headers, and dates.
    """

    window: HUWindow | None = None
    strength: float = 1.0
    format: Literal["dicom", "nifti"] | None = None
    syntax: UID | None = None
    overwrite: bool = False
    keep_primary: bool = False
    keep_private: bool = False
    deidentify: bool = False


def run(
    source: Path, output: Path, denoiser: Denoiser, settings: RunSettings, progress: Progress
) -> RunReport:
    """Denoise every CT series at ``source`` into a folder of its own below ``output``.

    A series that fails does not stop the others; the report says what became of each.

    Raises:
        CTDenoiseError: the input does not exist or cannot be unpacked, or the output folder
            cannot be written.
    """
    create_folder(output)
    report = RunReport(
        model={
            "name": denoiser.card.name,
            "sha256": denoiser.digest,
            "training_noise": denoiser.card.training_noise,
        }
    )
    with opened(source, output) as root:
        found = find(root, without=output)
        for item in found.left_out:
            name = named(item.path)
            report.left_out.append({"file": name, "reason": item.reason})
            report.damaged += item.damaged
            say = progress.problem if item.damaged and found.series else progress.detail
            say(f"left out {name}: {item.reason}")
        for place, series in enumerate(found.series, start=1):
            what = f"series {place} of {len(found.series)}"
            report.series.append(run_series(what, series, output, denoiser, settings, progress))
    return report


def series_level(
    series: Series, card: ModelCard, window: HUWindow | None, notes: list[str] | None = None
) -> Level:
    """The level for a series: a window as given, or matched to the noise of some slices.

    Where the noise could not be matched, ``notes`` gets a line that says so.

    Raises:
        CTDenoiseError: no slice can be read.
    """
    noise = measure_noise(_sample(series))
    level = match_level(card, noise, window)
    if notes is None or window is not None:
        return level
    if noise is None:
        notes.append("too little soft tissue to measure its noise: taken at the model's own level")
    elif level.unit_width * card.matched_sigma > noise.sigma:
        notes.append(f"little noise ({noise.sigma:.1f} HU): denoised at the lowest level there is")
    return level


def series_folder(series: Series) -> str:
    """Name of a series' folder: its number and a digest of its UIDs, nothing of the patient."""
    digest = hashlib.sha256(f"{series.study_uid} {series.uid}".encode()).hexdigest()[:8]
    number = "" if series.number is None else f"{series.number:04d}-"
    return f"series-{number}{digest}"


def run_series(
    what: str,
    series: Series,
    output: Path,
    denoiser: Denoiser,
    settings: RunSettings,
    progress: Progress,
) -> SeriesReport:
    report = SeriesReport(
        source_series_uid=series.uid, slices=series.slices, notes=list(series.notes)
    )
    progress.start(what, series.slices)
    try:
        _denoise(series, output / series_folder(series), denoiser, settings, progress, report)
    except CTDenoiseError as error:
        report.status, report.reason = "refused", str(error)
    except OSError as error:
        report.status, report.reason = "failed", f"cannot be written: {error.strerror or error}"
    except Exception as error:  # one series that nobody foresaw does not stop the others
        report.status, report.reason = "failed", f"unexpected {unforeseen(error)}"
    finally:
        progress.finish()
    for note in report.notes:
        progress.say(f"{what}: note: {note}")
    if report.reason:
        progress.problem(f"{what}: {report.status}: {report.reason}")
    else:
        noise = [f"{n:.1f}" if n else "?" for n in (report.noise_before, report.noise_after)]
        progress.say(f"{what}: done, noise {noise[0]} to {noise[1]} HU, in {report.output}")
    return report


def _denoise(
    series: Series,
    folder: Path,
    denoiser: Denoiser,
    settings: RunSettings,
    progress: Progress,
    report: SeriesReport,
) -> None:
    level = series_level(series, denoiser.card, settings.window, report.notes)
    provenance = Provenance(
        model=denoiser.card.name,
        digest=denoiser.digest,
        strength=settings.strength,
        precision=denoiser.precision,
        backend=denoiser.backend,
        device=denoiser.device.type,
        level=level,
        keep_primary=settings.keep_primary,
        keep_private=settings.keep_private,
        deidentify=settings.deidentify,
    )
    report.output = folder.name
    report.settings = {
        "window": "auto" if settings.window is None else "as given",
        "window_hu": [level.window.lower, level.window.upper],
        "unit_width_hu": level.unit_width,
        "centre_hu": level.centre,
        "preserved_scale_pixels": level.preserved_scale,
        "removal_limit": level.removal_limit,
        "stride": level.stride,
        "local": level.local,
        "strength": settings.strength,
        "precision": denoiser.precision,
        "backend": denoiser.backend,
        "device": str(denoiser.device),
    }
    writer = open_writer(
        series,
        folder,
        provenance,
        settings.format,
        overwrite=settings.overwrite,
        syntax=settings.syntax,
    )
    report.new_series_uid = provenance.derive_uid(series.uid)
    try:
        stream(
            series,
            writer,
            denoiser,
            level,
            settings.strength,
            progress=progress,
            report=report,
        )
        with report.seconds.timed("writing"):
            writer.close()
    finally:
        writer.abandon()
    if report.slices_already_there:
        report.notes.append(f"{report.slices_already_there} slices were there from an earlier run")
    report.status = "partial" if report.left_out else "done"
    if report.left_out:
        first = report.left_out[0]["reason"]
        report.reason = f"{len(report.left_out)} files could not be read: {first}"


def _sample(series: Series) -> Iterator[tuple[HU, Mask]]:
    problem: CTDenoiseError | None = None
    readable = False
    for place in _sample_places(len(series.instances)):
        instance = series.instances[place]
        try:
            for source in read_frames(series, instance, _sample_places(instance.frames)):
                readable = True
                yield source.hu[0], source.padding[0]
        except CTDenoiseError as error:
            problem = error
    if problem is not None and not readable:
        raise problem


def _sample_places(count: int) -> list[int]:
    return sorted({int(place) for place in np.linspace(0, count - 1, NOISE_SAMPLE).round()})
