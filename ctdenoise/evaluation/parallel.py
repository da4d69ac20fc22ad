"""Jobs side by side, with progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, TypeVar

from ctdenoise.progress import Progress

_Result = TypeVar("_Result")


def in_parallel(
    what: str,
    function: Callable[..., _Result],
    jobs: Sequence[tuple[Any, ...]],
    progress: Progress,
    threads: int,
) -> Iterator[_Result]:
    """Results of all jobs, as they come; what waits is dropped when the caller stops."""
    progress.start(what, len(jobs), unit="job")
    with ThreadPoolExecutor(threads) as pool:
        try:
            for future in as_completed([pool.submit(function, *job) for job in jobs]):
                yield future.result()
                progress.advance(1)
        finally:
            pool.shutdown(cancel_futures=True)
            progress.finish()
