"""Series of the queue through the denoiser, with what ``ctdenoise run`` does."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from ctdenoise.denoiser import Denoiser
from ctdenoise.errors import CTDenoiseError
from ctdenoise.pacs.arrivals import Arrivals
from ctdenoise.pacs.counters import Counters
from ctdenoise.pacs.retries import Retries
from ctdenoise.pacs.spool import Spool
from ctdenoise.progress import Progress
from ctdenoise.report import RunReport, SeriesReport
from ctdenoise.run import RunSettings, run

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Outcome:
    """What became of a series.

    ``problems`` is what could not be denoised and should have been, ``may_pass`` tells that
    another try may not have them.
    """

    said: str = ""
    slices: int = 0
    left_out: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    may_pass: bool = False


class Worker:
    """Takes one series after the other from the queue, and denoises it.

    Args:
        spool: the queue.
        arrivals: tells which series are whole.
        denoiser: the model, loaded.
        settings: as for a run.
        retries: of series that fail.
        tries: after which a series is given up that ends the process each time.
        counters: of what happens.
        stop: is looked at between two slices.
    """

    def __init__(
        self,
        spool: Spool,
        arrivals: Arrivals,
        denoiser: Denoiser,
        settings: RunSettings,
        *,
        retries: Retries,
        tries: int,
        counters: Counters,
        stop: threading.Event,
    ) -> None:
        self._spool = spool
        self._arrivals = arrivals
        self._denoiser = denoiser
        # Another model may have left half a series when the node was last stopped.
        self._settings = replace(settings, overwrite=True)
        self._retries = retries
        self._tries = tries
        self._counters = counters
        self._stop = stop

    def step(self) -> bool:
        """Denoise the next series; False if there is none."""
        series = self._next()
        if series is None:
            return False
        folder, tries = self._spool.begin(series)
        if tries > self._tries:
            self._give_up(series, [f"the process ended in it, {tries - 1} times"])
            return True
        try:
            outcome = self._denoise(self._spool.sources(series), folder)
        except _StoppedError:
            LOG.info("series %s: stopped in it, goes on with the next start", series)
            return True
        finally:
            self._spool.outlived(series)
        self._conclude(series, outcome)
        return True

    def _next(self) -> str | None:
        for series in self._spool.ready():
            if self._retries.due(series):
                return series
        for series in self._spool.incoming():
            if self._arrivals.claim(series, self._spool.claim) is not None:
                return series
        return None

    def _denoise(self, sources: Path, folder: Path) -> _Outcome:
        began = time.monotonic()
        try:
            report = run(sources, folder, self._denoiser, self._settings, _Stoppable(self._stop))
        except CTDenoiseError as error:
            return _Outcome(problems=(str(error),), may_pass=True)
        except Exception as error:  # one series that nobody foresaw does not stop the others
            LOG.debug("denoising", exc_info=True)
            return _Outcome(problems=(f"unexpected {type(error).__name__}",), may_pass=True)
        return _outcome(report, time.monotonic() - began)

    def _conclude(self, series: str, outcome: _Outcome) -> None:
        if outcome.left_out:
            self._counters.add("left_out", len(outcome.left_out))
            why = "; ".join(sorted(set(outcome.left_out)))
            LOG.info("series %s: left out %d objects: %s", series, len(outcome.left_out), why)
        if outcome.slices:
            self._retries.forget(series)
            self._counters.add("series_denoised")
            self._counters.add("slices_denoised", outcome.slices)
            LOG.info("series %s: %s", series, outcome.said)
            self._spool.ended(series, outcome.problems)
        elif not outcome.problems:
            self._spool.finish(series)
        else:
            self._failed(series, outcome)

    def _failed(self, series: str, outcome: _Outcome) -> None:
        why = "; ".join(outcome.problems)
        self._counters.failed("denoising", "Failed" if outcome.may_pass else "Refused")
        delay = self._retries.failed(series) if outcome.may_pass else None
        if delay is None:
            self._give_up(series, outcome.problems)
        else:
            LOG.warning("series %s: failed: %s; tried again in %.0f s", series, why, delay)

    def _give_up(self, series: str, reasons: list[str] | tuple[str, ...]) -> None:
        self._retries.forget(series)
        self._counters.add("dead")
        LOG.error("series %s: given up: %s; it is in dead-letter", series, "; ".join(reasons))
        self._spool.bury(series, "denoising", reasons)


class _StoppedError(BaseException):
    """The node is being shut down. No :class:`Exception`: that would be a fault of the series."""


class _Stoppable(Progress):
    """Says nothing: the node has lines of its own. Between two slices it looks at ``stop``."""

    def __init__(self, stop: threading.Event) -> None:
        super().__init__("quiet")
        self._stop = stop

    def start(self, what: str, slices: int, unit: str = "slice") -> None:
        self.advance(0)

    def advance(self, slices: int) -> None:
        if self._stop.is_set():
            raise _StoppedError

    def problem(self, line: str) -> None:
        pass


def _outcome(report: RunReport, seconds: float) -> _Outcome:
    done = [series for series in report.series if series.status in ("done", "partial")]
    not_done = [series for series in report.series if series.status != "done"]
    slices = sum(series.slices for series in done)
    said = [f"{slices} slices denoised in {seconds:.1f} s"]
    said += [f"{series.source_series_uid} became {series.new_series_uid}" for series in done]
    problems = [_reason(series) for series in not_done]
    reasons = tuple(item["reason"] for item in report.left_out)
    if report.damaged:
        problems.append(f"{report.damaged} files are damaged: {'; '.join(sorted(set(reasons)))}")
    return _Outcome(
        said=", ".join(said),
        slices=slices,
        left_out=reasons,
        problems=tuple(problems),
        may_pass=any(series.status == "failed" for series in not_done),
    )


def _reason(series: SeriesReport) -> str:
    reason = series.reason or series.status
    # The text of an error that nobody foresaw may hold anything that is in a file.
    return reason.split(":")[0] if reason.startswith("unexpected") else reason
