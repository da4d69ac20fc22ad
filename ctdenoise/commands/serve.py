"""``ctdenoise serve``: a DICOM node that denoises what it is sent."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ctdenoise.commands.common import Subparsers, from_zero, positive
from ctdenoise.commands.denoising import (
    add_denoising,
    check_denoising,
    open_denoiser,
    settings_of,
)
from ctdenoise.errors import CTDenoiseError

if TYPE_CHECKING:
    from ctdenoise.pacs.settings import NodeSettings

_MB = 2**20


def add_to(commands: Subparsers) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "serve", help="denoise what a PACS or a scanner sends, and send it on"
    )
    add = parser.add_argument
    add("--port", type=_port, required=True, metavar="N", help="of DICOM, such as 11112")
    add("--aet", required=True, metavar="AET", help="the node's AE title, such as CTDENOISE")
    add("--forward", required=True, metavar="AET@HOST:PORT", help="who gets the derived series")
    add(
        "--allow",
        nargs="+",
        default=[],
        metavar="AET",
        help="who may send; '*' for everybody (default: who gets the derived series)",
    )
    add("--host", default="", metavar="ADDRESS", help="to listen at (default: all)")
    add(
        "--spool",
        type=Path,
        default=Path("ctdenoise-spool"),
        metavar="DIR",
        help="of what is accepted and not yet done (default: ./ctdenoise-spool)",
    )
    _add_limits(parser)
    add(
        "--http-port",
        type=_port,
        default=11180,
        metavar="N",
        help="of /health and /metrics (default: 11180; 0: none)",
    )
    add("--http-host", default="127.0.0.1", metavar="ADDRESS", help="of them (default: loopback)")
    add(
        "--retry-dead-letters",
        action="store_true",
        help="put what was given up back into the queue first",
    )
    add_denoising(parser)
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("--quiet", action="store_true", help="say problems only")
    loudness.add_argument("--verbose", action="store_true", help="a fault with its traceback")
    parser.set_defaults(command=execute)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--quiet-time",
        type=_seconds,
        default=30.0,
        metavar="SECONDS",
        help="without an object, after which a series is whole (default: 30)",
    )
    add(
        "--retries",
        type=positive,
        default=8,
        metavar="N",
        help="tries with a series, before it becomes a dead letter (default: 8)",
    )
    add(
        "--retry-delay",
        type=_seconds,
        default=10.0,
        metavar="SECONDS",
        help="before the second try; doubles with each, up to ten minutes (default: 10)",
    )
    add("--max-associations", type=positive, default=10, metavar="N", help="(default: 10)")
    add("--max-object-mb", type=positive, default=512, metavar="MB", help="(default: 512)")
    add(
        "--min-free-mb",
        type=from_zero,
        default=1024,
        metavar="MB",
        help="of the disk, that stay free (default: 1024)",
    )
    add(
        "--remember",
        type=_seconds,
        default=24.0,
        metavar="HOURS",
        help="an object that comes again within it is not denoised again (default: 24; 0: it is)",
    )


def execute(options: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    check_denoising(options)
    settings = _settings_of(options)

    import signal
    import threading

    try:
        from ctdenoise.pacs.node import Node
    except ModuleNotFoundError as error:
        raise CTDenoiseError(
            f"serve needs more packages ({error.name}): pip install 'ctdenoise[pacs]'"
        ) from None

    _log(options)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    denoiser = open_denoiser(options)
    run_settings = settings_of(options)
    revive = options.retry_dead_letters
    Node(settings, denoiser, run_settings, stop, revive=revive).work()
    return 0


def _log(options: argparse.Namespace) -> None:
    """Our own lines to standard error; those of libraries may name patients."""
    import logging

    log = logging.getLogger("ctdenoise")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.propagate = False
    normal = logging.DEBUG if options.verbose else logging.INFO
    log.setLevel(logging.WARNING if options.quiet else normal)


def _settings_of(options: argparse.Namespace) -> NodeSettings:
    from ctdenoise.pacs.settings import NodeSettings, Peer, check_aet

    forward = Peer.parse(options.forward)
    return NodeSettings(
        aet=check_aet(options.aet),
        host=options.host,
        port=options.port,
        forward=forward,
        allow=frozenset(check_aet(title) for title in options.allow or [forward.aet]),
        spool=options.spool,
        quiet_time=options.quiet_time,
        retries=options.retries,
        retry_delay=options.retry_delay,
        max_associations=options.max_associations,
        max_object_bytes=options.max_object_mb * _MB,
        min_free_bytes=options.min_free_mb * _MB,
        remember=options.remember * 3600.0,
        http_host=options.http_host,
        http_port=options.http_port or None,
    )


def _port(text: str) -> int:
    number = from_zero(text)
    if number >= 2**16:
        raise argparse.ArgumentTypeError(f"{text}: give a port up to 65535")
    return number


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text}: give a number from 0 on")
    return value
