"""``ctdenoise cohort``: denoise thousands of series on many workers."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ctdenoise.commands.common import Subparsers, from_zero, positive, threads_of
from ctdenoise.commands.denoising import add_denoising, check_denoising, settings_of
from ctdenoise.errors import CTDenoiseError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ctdenoise.cohort.job import Job


def add_to(commands: Subparsers) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("cohort", help="denoise thousands of series on many workers")
    add = parser.add_argument
    add(
        "--input",
        type=Path,
        required=True,
        metavar="ROOT|MANIFEST.csv",
        help="a folder tree of series, or a table with a column `path` (and `id`)",
    )
    add(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="each series gets a folder of its own below it; table, reports and summary as well",
    )
    add(
        "--scheduler",
        default="local",
        metavar="local|ADDRESS",
        help="of Dask, such as tcp://host:8786; local starts workers on this machine (default)",
    )
    add(
        "--workers",
        type=positive,
        metavar="N",
        help="local: processes (default: one a GPU, or one for two CPUs); else: how many to expect",
    )
    add(
        "--retries",
        type=from_zero,
        default=2,
        metavar="N",
        help="of a series that failed, or whose worker died (default: 2)",
    )
    add_denoising(parser)
    add("--format", choices=["dicom", "nifti"], help="default: as the input")
    add("--overwrite", action="store_true", help="replace what another run left in the output")
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("--quiet", action="store_true", help="say problems only")
    loudness.add_argument("--verbose", action="store_true", help="say each series as well")
    parser.set_defaults(command=execute)


def execute(options: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    check_denoising(options)
    if not options.input.exists():
        raise CTDenoiseError("--input: no such file or folder")
    if find_spec("distributed") is None:
        raise CTDenoiseError("Dask is not installed: pip install 'ctdenoise[cohort]'")

    from ctdenoise.cohort.cluster import LOCAL, local_gpus
    from ctdenoise.cohort.command import run_cohort
    from ctdenoise.progress import Progress, Verbosity

    gpus: Sequence[str] = ()
    workers = options.workers or 1
    threads = options.threads
    if options.scheduler == LOCAL:
        gpus = local_gpus(options.device, options.backend)
        cpus = threads_of(argparse.Namespace(threads=None))
        workers = options.workers or len(gpus) or max(1, cpus // 2)
        threads = threads or max(1, cpus // workers)
    # A worker of ours sees its own GPU only, whatever its number.
    device = "cuda" if gpus else options.device
    verbosity: Verbosity = "quiet" if options.quiet else "verbose" if options.verbose else "normal"
    return run_cohort(
        options.input.resolve(),
        _job(options, device, threads),
        scheduler=options.scheduler,
        workers=workers,
        gpus=gpus,
        retries=options.retries,
        progress=Progress(verbosity),
    )


def _job(options: argparse.Namespace, device: str, threads: int | None) -> Job:
    """What the workers are told, in paths that they understand too."""
    from uuid import uuid4

    from ctdenoise.cohort.job import Job
    from ctdenoise.models.registry import load

    loaded = load(options.model, clip_weights=options.clip_weights, decoder=options.decoder)
    return Job(
        output=options.output.resolve(),
        model=_absolute(options.model),
        clip_weights=_absolute(options.clip_weights) if options.clip_weights else None,
        decoder=options.decoder.resolve() if options.decoder else None,
        digest=loaded.digest,
        device=device,
        precision=options.precision,
        batch_size=options.batch_size,
        backend=options.backend,
        threads=threads,
        settings=settings_of(options, format=options.format, overwrite=options.overwrite),
        deaths=options.retries + 1,
        command=uuid4().hex[:12],
    )


def _absolute(name: str) -> str:
    """A file by its whole path; a name as it is."""
    return str(Path(name).resolve()) if Path(name).is_file() else name
