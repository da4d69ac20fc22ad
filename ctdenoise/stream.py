"""The slices of one series through reading, network and writing, which overlap.

The network is in the calling thread. A thread reads ahead of it and prepares what it sees, another
one makes HU of its results and writes them, and between them is no more than some batches: memory
does not grow with the slices of a series.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctdenoise.denoiser import Denoiser
from ctdenoise.derived.writers import Writer
from ctdenoise.errors import CTDenoiseError
from ctdenoise.file_names import named
from ctdenoise.hounsfield import HU, Mask
from ctdenoise.level import Level, Seen
from ctdenoise.overlap import Ahead, Behind
from ctdenoise.progress import Progress
from ctdenoise.report import Seconds, SeriesReport
from ctdenoise.series import Instance, Series, SourceImage, read_frames
from ctdenoise.side_by_side import LevelSideBySide
from ctdenoise.statistics import ChangeStatistics

_DEPTH = 2
"""Batches that wait before the network, and behind it."""


@dataclass(frozen=True)
class _Slice:
    """A frame at a place in its series; ``earlier`` is what an earlier run has written of it."""

    place: int
    instance: Instance
    source: SourceImage
    earlier: HU | None


@dataclass(frozen=True)
class _Unreadable:
    """What stands for the frames of an instance from the one on that cannot be read."""

    instance: Instance
    reason: str


_Item = _Slice | _Unreadable


@dataclass(frozen=True)
class _Batch:
    """Slices of one size, and what the network is shown of those that are to be denoised."""

    items: list[_Item]
    hu: HU
    padding: Mask
    seen: Seen | None

    @property
    def slices(self) -> list[_Slice]:
        return [item for item in self.items if isinstance(item, _Slice)]


def stream(
    series: Series,
    writer: Writer,
    denoiser: Denoiser,
    level: Level,
    strength: float,
    *,
    progress: Progress,
    report: SeriesReport,
) -> None:
    """Denoise and write all slices of a series that were not written before.

    A file that cannot be read is said and passed over. What became of the slices goes into the
    ``report``, all but the status.

    Args:
        series: what is read.
        writer: what writes; to be closed, or abandoned after an error.
        denoiser: the model; its batch size is how many slices go at once.
        level: at which the HU of the series meet it.
        strength: 0 to 1.
        progress: is told of slices and files.
        report: of the series.

    Raises:
        CTDenoiseError: the network or the format cannot go on.
        OSError: the result cannot be written.
    """
    items = _timed(_read(series, writer), report.seconds)
    with warnings.catch_warnings(), LevelSideBySide(level, denoiser.spare_threads) as beside:
        # Not in the threads: the filters are those of the whole process.
        warnings.simplefilter("ignore")
        batches = (_prepared(batch, beside) for batch in _batches(items, denoiser.batch_size))
        results = _Results(series, writer, report, beside, strength)
        with (
            Ahead(batches, depth=_DEPTH) as read_ahead,
            Behind(results.take, depth=_DEPTH) as hand_over,
        ):
            for batch in read_ahead:
                _say_unreadable(batch, progress, report)
                _note(batch, report)
                hand_over((batch, _denoised(batch, denoiser, level, report)))
                progress.advance(len(batch.slices))
    statistics = results.statistics
    report.noise_before, report.noise_after = statistics.noise_before, statistics.noise_after
    report.hu_change = statistics.hu_change


def _say_unreadable(batch: _Batch, progress: Progress, report: SeriesReport) -> None:
    for item in batch.items:
        if isinstance(item, _Unreadable):
            report.left_out.append({"file": named(item.instance.path), "reason": item.reason})
            progress.detail(item.reason)


def _note(batch: _Batch, report: SeriesReport) -> None:
    """What was put right in a file's header, once for a series."""
    for item in batch.slices:
        report.notes += [note for note in item.source.notes if note not in report.notes]


def _prepared(items: list[_Item], level: LevelSideBySide) -> _Batch:
    todo = [item.source for item in _slices(items) if item.earlier is None]
    if not todo:
        return _Batch(items, np.empty((0, 0, 0)), np.empty((0, 0, 0), dtype=np.bool_), None)
    hu = np.concatenate([source.hu for source in todo])
    padding = np.concatenate([source.padding for source in todo])
    return _Batch(items, hu, padding, level.to_network(hu, padding))


def _denoised(
    batch: _Batch, denoiser: Denoiser, level: Level, report: SeriesReport
) -> NDArray[np.float32] | None:
    """What the network makes of the slices of a batch that are still to be written."""
    if batch.seen is None:
        report.slices_already_there += len(batch.slices)
        return None
    report.slices_already_there += len(batch.slices) - len(batch.hu)
    with report.seconds.timed("network"):
        return denoiser.infer_all(batch.seen, level)


class _Results:
    """Writes what was denoised, and gathers what is said of it."""

    def __init__(
        self,
        series: Series,
        writer: Writer,
        report: SeriesReport,
        level: LevelSideBySide,
        strength: float,
    ) -> None:
        self.statistics = ChangeStatistics(series.slices)
        self._of_instance = self.statistics.empty()
        self._writer = writer
        self._report = report
        self._level = level
        self._strength = strength

    def _in_hu(self, batch: _Batch, denoised: NDArray[np.float32] | None) -> HU:
        if batch.seen is None or denoised is None:
            return batch.hu
        return self._level.from_network(
            batch.hu, batch.padding, batch.seen, denoised, self._strength
        )

    def take(self, batch_and_denoised: tuple[_Batch, NDArray[np.float32] | None]) -> None:
        """A batch, and what the network made of those of its slices that are to be written."""
        batch, denoised = batch_and_denoised
        fresh = iter(self._in_hu(batch, denoised))
        for item in batch.items:
            if isinstance(item, _Unreadable):
                self._writer.drop(item.instance)
                self._of_instance = self.statistics.empty()
                continue
            after = item.earlier
            if after is None:
                with self._report.seconds.timed("writing"):
                    after = self._writer.write(item.instance, item.source, next(fresh)[None])
            source = item.source
            self._of_instance.add(item.place, source.hu[0], after[0], source.padding[0])
            if source.first + 1 == item.instance.frames:
                self.statistics.merge(self._of_instance)
                self._of_instance = self.statistics.empty()
                self._report.instances += self._writer.uids([item.instance])


def _read(series: Series, writer: Writer) -> Generator[_Item, None, None]:
    place = 0
    for instance in series.instances:
        try:
            frames = zip(read_frames(series, instance), writer.finished(instance), strict=True)
            for source, earlier in frames:
                yield _Slice(place + source.first, instance, source, earlier)
        except CTDenoiseError as error:
            yield _Unreadable(instance, str(error))
        place += instance.frames


def _timed(items: Iterator[_Item], seconds: Seconds) -> Generator[_Item, None, None]:
    while True:
        with seconds.timed("reading"):
            item = next(items, None)
        if item is None:
            return
        yield item


def _batches(items: Iterator[_Item], size: int) -> Generator[list[_Item], None, None]:
    """Slices of one size, so many that a batch of the network can be filled."""
    batch: list[_Item] = []
    for item in items:
        before = _slices(batch)
        if before and isinstance(item, _Slice) and _size(item) != _size(before[0]):
            yield batch
            batch = []
        batch.append(item)
        if len(_slices(batch)) >= size:
            yield batch
            batch = []
    if batch:
        yield batch


def _slices(batch: list[_Item]) -> list[_Slice]:
    return [item for item in batch if isinstance(item, _Slice)]


def _size(item: _Slice) -> tuple[int, ...]:
    return item.source.stored.shape[1:]
