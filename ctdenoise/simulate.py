"""From an input path to the same series at a fraction of their dose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ctdenoise.derived.atomic import create_folder
from ctdenoise.derived.conversion import open_writer
from ctdenoise.derived.provenance import SimulatedDose
from ctdenoise.errors import CTDenoiseError, unforeseen
from ctdenoise.hounsfield import HU, Mask
from ctdenoise.measured_noise import measure_noise
from ctdenoise.noise.low_dose import Scan, calibrate, low_dose_noise
from ctdenoise.noise.named import named_generator
from ctdenoise.progress import Progress
from ctdenoise.run import series_folder
from ctdenoise.series import Series, find, read_frames
from ctdenoise.series.frames import group_value
from ctdenoise.series.model import spread
from ctdenoise.series.opening import read_header

CALIBRATION_SLICES = 3
"""Slices, spread over a series, at which the photons of its scan are matched to its noise."""


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """What a user may choose.

    Attributes:
        dose: fraction of the series' own dose, above 0 and at most 1.
        scan: its photons are matched to each series' noise, unless ``matched`` is False.
        matched: match them.
        seed: of the noise.
    """

    dose: float
    scan: Scan
    matched: bool = True
    seed: int = 0


def simulate(
    source: Path, output: Path, simulation: Simulation, progress: Progress, *, overwrite: bool
) -> int:
    """Bring every CT series at ``source`` to a lower dose, in a folder of its own.

    Returns:
        The number of series that could not be done; each is said.

    Raises:
        CTDenoiseError: there is no CT series.
    """
    found = find(source, without=output)
    if not found.series:
        raise CTDenoiseError("--input: no CT series to simulate a lower dose of")
    create_folder(output)
    failed = 0
    for place, series in enumerate(found.series, start=1):
        what = f"series {place} of {len(found.series)}"
        progress.start(what, series.slices)
        try:
            _simulate_series(series, output, simulation, progress, overwrite)
        except CTDenoiseError as error:
            failed += 1
            progress.problem(f"{what}: refused: {error}")
        except OSError as error:
            failed += 1
            progress.problem(f"{what}: failed: cannot be written: {error.strerror or error}")
        except Exception as error:  # one series that nobody foresaw does not stop the others
            failed += 1
            progress.problem(f"{what}: failed: unexpected {unforeseen(error)}")
        finally:
            progress.finish()
    return failed


def pixel_spacing(series: Series) -> float:
    """Spacing of a series' pixels in mm.

    Raises:
        CTDenoiseError: it does not say, or its pixels are not square.
    """
    first = series.instances[0].path
    if series.kind == "nifti":
        import nibabel

        spacing = [float(s) for s in nibabel.load(first).header.get_zooms()[:2]]
    else:
        spacing = [float(s) for s in group_value(read_header(first), 0, "PixelSpacing") or []]
    if len(spacing) != 2 or min(spacing) <= 0:
        raise CTDenoiseError("its pixel spacing is not given, which the path of the rays needs")
    if abs(spacing[0] - spacing[1]) > 1e-3 * spacing[0]:
        raise CTDenoiseError(f"its pixels are not square: {spacing[0]:g} by {spacing[1]:g} mm")
    return spacing[0]


def matched_scan(scan: Scan, slices: Sequence[tuple[HU, Mask]], spacing: float) -> Scan:
    """The scan whose full dose gives soft tissue the noise that these slices have.

    Raises:
        CTDenoiseError: there is too little soft tissue to measure it.
    """
    noise = measure_noise(slices)
    if noise is None or noise.sigma <= 0:
        raise CTDenoiseError("too little soft tissue to match its noise; give --photons")
    return calibrate(scan, slices, spacing=spacing, noise=noise.sigma)


def noise_of_slice(
    hu: HU, padding: Mask, name: str, simulation: Simulation, scan: Scan, spacing: float
) -> HU:
    """Noise (H, W) for one slice; its randomness is that of the seed and the ``name`` alone."""
    return low_dose_noise(
        hu,
        padding,
        spacing=spacing,
        dose=simulation.dose,
        scan=scan,
        rng=named_generator(simulation.seed, name),
    )


def _simulate_series(
    series: Series, output: Path, simulation: Simulation, progress: Progress, overwrite: bool
) -> None:
    spacing = pixel_spacing(series)
    scan = simulation.scan
    if simulation.matched:
        scan = matched_scan(scan, some_slices(series), spacing)
    made_by = SimulatedDose(simulation.dose, scan, simulation.seed)
    folder = output / series_folder(series)
    writer = open_writer(series, folder, made_by, None, overwrite=overwrite)
    try:
        for instance in series.instances:
            for image, earlier in zip(
                read_frames(series, instance), writer.finished(instance), strict=True
            ):
                if earlier is None:
                    name = f"{instance.uid} {image.first}"
                    hu, padding = image.hu, image.padding
                    noise = noise_of_slice(hu[0], padding[0], name, simulation, scan, spacing)
                    writer.write(instance, image, np.where(padding, hu, hu + noise))
                progress.advance(1)
        writer.close()
    finally:
        writer.abandon()
    progress.say(f"dose {simulation.dose:g} at {scan.photons:.3g} photons a ray, in {folder.name}")


def some_slices(series: Series) -> list[tuple[HU, Mask]]:
    """Some slices, each with its padding, from which its scan is matched."""
    wanted = spread(series.slices, CALIBRATION_SLICES)
    chosen, begin = [], 0
    for instance in series.instances:
        frames = [w - begin for w in wanted if begin <= w < begin + instance.frames]
        if frames:
            images = read_frames(series, instance, frames)
            chosen += [(image.hu[0], image.padding[0]) for image in images]
        begin += instance.frames
    return chosen
