"""From an input path to denoised series: the whole way, one series after the other."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ctdenoise.denoiser import Denoiser, match_level
from ctdenoise.derived.atomic import create_folder
from ctdenoise.derived.conversion import open_writer
from ctdenoise.derived.provenance import Provenance
from ctdenoise.derived.writers import Writer
from ctdenoise.errors import CTDenoiseError, one_line
from ctdenoise.hounsfield import HU, HUWindow, Level, Mask
from ctdenoise.measured_noise import measure_noise
from ctdenoise.models.card import ModelCard
from ctdenoise.progress import Progress
from ctdenoise.report import RunReport, Seconds, SeriesReport
from ctdenoise.series import Instance, Series, SourceImage, find, read
from ctdenoise.series.archive import unpack
from ctdenoise.statistics import ChangeStatistics

NOISE_SAMPLE = 8
"""Slices, spread over the series, from which its noise is measured beforehand."""


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Everything that a user may choose for a run, beside the model and where it runs.

    Attributes:
        window: HU that become the network's [0, 1]; None matches the series' noise.
        strength: 0 to 1.
        format: format of the output; None is that of the input.
        compression: of DICOM, without loss; None is explicit little endian.
        overwrite: replace what another run has left in the output folder.
        keep_primary: keep PRIMARY as the second value of the image type.
        keep_private: keep private attributes.
    """

    window: HUWindow | None = None
    strength: float = 1.0
    format: Literal["dicom", "nifti"] | None = None
    compression: Literal["rle", "jpeg-ls", "jpeg-2000"] | None = None
    overwrite: bool = False
    keep_primary: bool = False
    keep_private: bool = False


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
    unpacked = None
    try:
        if source.suffix.lower() == ".zip" and source.is_file():
            unpacked = Path(tempfile.mkdtemp(prefix=".unpacked-", dir=output))
            unpack(source, unpacked)
        root = unpacked or source
        found = find(root, without=output)
        for item in found.left_out:
            name = str(item.path.relative_to(root)) if item.path != root else item.path.name
            report.left_out.append({"file": name, "reason": item.reason})
            report.damaged += item.damaged
            say = progress.problem if item.damaged and found.series else progress.detail
            say(f"left out {name}: {item.reason}")
        for place, series in enumerate(found.series, start=1):
            what = f"series {place} of {len(found.series)}"
            report.series.append(_run_series(what, series, output, denoiser, settings, progress))
    finally:
        if unpacked is not None:
            shutil.rmtree(unpacked, ignore_errors=True)
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


def _run_series(
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
        report.status, report.reason = "failed", f"unexpected {one_line(error)}"
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
        device=denoiser.device.type,
        level=level,
        keep_primary=settings.keep_primary,
        keep_private=settings.keep_private,
    )
    report.output = str(folder)
    report.settings = {
        "window": "auto" if settings.window is None else "as given",
        "window_hu": [level.window.lower, level.window.upper],
        "unit_width_hu": level.unit_width,
        "centre_hu": level.centre,
        "preserved_scale_pixels": level.preserved_scale,
        "removal_limit": level.removal_limit,
        "stride": level.stride,
        "strength": settings.strength,
        "precision": denoiser.precision,
        "device": str(denoiser.device),
    }
    writer = open_writer(
        series,
        folder,
        provenance,
        settings.format,
        overwrite=settings.overwrite,
        compression=settings.compression,
    )
    report.new_series_uid = provenance.derive_uid(series.uid)
    statistics = ChangeStatistics()
    for batch in _batches(series, denoiser.batch_size, report, progress):
        _process(batch, level, settings.strength, denoiser, writer, statistics, progress, report)
    with _timed(report.seconds, "writing"):
        writer.close(complete=not report.left_out)
    report.noise_before, report.noise_after = statistics.noise_before, statistics.noise_after
    report.hu_change = statistics.hu_change
    if report.slices_already_there:
        report.notes.append(f"{report.slices_already_there} slices were there from an earlier run")
    report.status = "partial" if report.left_out else "done"
    if report.left_out:
        first = report.left_out[0]["reason"]
        report.reason = f"{len(report.left_out)} files could not be read: {first}"


def _process(
    batch: list[tuple[Instance, SourceImage]],
    level: Level,
    strength: float,
    denoiser: Denoiser,
    writer: Writer,
    statistics: ChangeStatistics,
    progress: Progress,
    report: SeriesReport,
) -> None:
    before = [source.hu for _, source in batch]
    after = [writer.finished(instance) for instance, _ in batch]
    todo = [i for i, hu in enumerate(after) if hu is None]
    already_there = sum(len(slices) for slices in after if slices is not None)
    report.slices_already_there += already_there
    progress.advance(already_there)
    if todo:
        hu = np.concatenate([before[i] for i in todo])
        padding = np.concatenate([batch[i][1].padding for i in todo])
        denoised = np.empty_like(hu)
        for start in range(0, len(hu), denoiser.batch_size):
            part = slice(start, start + denoiser.batch_size)
            with _timed(report.seconds, "network"):
                denoised[part] = denoiser(hu[part], padding[part], level, strength)
            progress.advance(len(hu[part]))
        ends = np.cumsum([len(before[i]) for i in todo])[:-1]
        with _timed(report.seconds, "writing"):
            for i, slices in zip(todo, np.split(denoised, ends), strict=True):
                after[i] = writer.write(*batch[i], slices)
    for (_, source), b, a in zip(batch, before, after, strict=True):
        if a is not None:
            statistics.add(b, a, source.padding)
    report.instances += writer.uids([instance for instance, _ in batch])


def _batches(
    series: Series, size: int, report: SeriesReport, progress: Progress
) -> Iterator[list[tuple[Instance, SourceImage]]]:
    """Instances with their pixels, so many that a batch of the network can be filled.

    A batch holds slices of one size only; a file that cannot be read is said and passed over.
    """
    batch: list[tuple[Instance, SourceImage]] = []
    for instance in series.instances:
        try:
            with _timed(report.seconds, "reading"):
                source = read(series, instance)
        except CTDenoiseError as error:
            report.left_out.append({"file": instance.path.name, "reason": str(error)})
            progress.detail(str(error))
            continue
        if batch and source.stored.shape[1:] != batch[0][1].stored.shape[1:]:
            yield batch
            batch = []
        batch.append((instance, source))
        if sum(len(item.stored) for _, item in batch) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


def _sample(series: Series) -> Iterator[tuple[HU, Mask]]:
    places = np.linspace(0, len(series.instances) - 1, NOISE_SAMPLE).round()
    problem: CTDenoiseError | None = None
    readable = False
    for place in sorted({int(p) for p in places}):
        try:
            source = read(series, series.instances[place])
        except CTDenoiseError as error:
            problem = error
            continue
        frames = np.linspace(0, len(source.stored) - 1, NOISE_SAMPLE).round()
        hu = source.hu
        readable = True
        yield from ((hu[f], source.padding[f]) for f in sorted({int(f) for f in frames}))
    if problem is not None and not readable:
        raise problem


@contextmanager
def _timed(seconds: Seconds, part: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        setattr(seconds, part, getattr(seconds, part) + time.perf_counter() - started)
