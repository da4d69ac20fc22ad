"""Loaded by the workers of the tests: a series does what a file with its UID orders.

``kill`` kills the worker, ``fail`` fails, ``fail once`` fails the first time, ``slow`` takes a
second more, ``wait`` waits until the order is withdrawn. The files are in the folder that ORDERS
names.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from ctdenoise.cohort import work
from ctdenoise.report import SeriesReport

_run_series = work.run_series


def run_series(what: str, series: Any, *arguments: Any) -> SeriesReport:
    order = Path(os.environ["ORDERS"], series.uid)
    said = order.read_text() if order.exists() else ""
    if said == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if said == "slow":
        time.sleep(1)
    if said == "wait":
        end = time.monotonic() + 120
        while order.exists() and time.monotonic() < end:
            time.sleep(0.05)
    if said.startswith("fail"):
        if said == "fail once":
            order.unlink()
        return SeriesReport(series.uid, reason=f"failed: {series.instances[0].path}: as ordered")
    return _run_series(what, series, *arguments)


work.run_series = run_series
