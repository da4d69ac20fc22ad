"""Options that several commands have."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, TypeAlias

from ctdenoise.errors import CTDenoiseError

if TYPE_CHECKING:
    from ctdenoise.hounsfield import HUWindow

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def words(text: str) -> list[str]:
    """The words of a list with commas, each once."""
    return list(dict.fromkeys(word for word in text.split(",") if word))


def window_of(options: argparse.Namespace) -> HUWindow | None:
    """The window of ``--window``; None for auto.

    Raises:
        CTDenoiseError: it is no window.
    """
    from ctdenoise.hounsfield import HUWindow

    if options.window == "auto":
        return None
    try:
        lower, upper = (float(part) for part in options.window.split(","))
        return HUWindow(lower, upper)
    except ValueError:
        raise CTDenoiseError(
            f"--window {options.window}: give auto, or LOWER,UPPER in HU, such as --window -160,240"
        ) from None


def threads_of(options: argparse.Namespace) -> int:
    """Threads as asked for, or as many as there are."""
    return int(options.threads or _available_threads())


def _available_threads() -> int:
    """What the scheduler, the environment and the CPU affinity all leave to this process."""
    affinity = hasattr(os, "sched_getaffinity")
    limits = [len(os.sched_getaffinity(0)) if affinity else os.cpu_count() or 1]
    for name in ("SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS"):
        value = os.environ.get(name, "")
        if value.isdigit() and int(value) > 0:
            limits.append(int(value))
    return min(limits)


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number from 1 on")
    return int(text)


def from_zero(text: str) -> int:
    """A whole number from 0 on."""
    return 0 if text == "0" else positive(text)


def add_threads_and_verbose(parser: argparse.ArgumentParser) -> None:
    """``--threads`` and ``--verbose``."""
    parser.add_argument("--threads", type=positive, metavar="N", help="default: as for run")
    parser.add_argument("--verbose", action="store_true", help="a fault with its traceback")


def add_show_paths(parser: argparse.ArgumentParser) -> None:
    """``--show-paths``."""
    parser.add_argument(
        "--show-paths",
        action="store_true",
        help="name files in lines and in the report, which may name patients (default: a digest)",
    )


def add_window(parser: argparse.ArgumentParser) -> None:
    """``--window``."""
    parser.add_argument(
        "--window",
        default="auto",
        metavar="auto|LO,HI",
        help="HU that become the network's [0, 1]; auto matches the noise of the series",
    )
