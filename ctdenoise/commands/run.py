"""``ctdenoise run``: denoise series."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from ctdenoise.commands.common import Subparsers, add_show_paths
from ctdenoise.commands.denoising import (
    add_denoising,
    check_deidentify,
    check_denoising,
    open_denoiser,
    settings_of,
)
from ctdenoise.errors import CTDenoiseError


def add_to(commands: Subparsers) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("run", help="denoise the CT series at a path")
    add = parser.add_argument
    add(
        "--input",
        required=True,
        metavar="PATH|URL",
        help="a DICOM file, a folder tree, a .zip of one, .nii/.nii.gz, or a study or series of a "
        "PACS: dicomweb+https://HOST/dicom-web/studies/UID/series/UID",
    )
    add(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="each series gets a folder of its own below it",
    )
    add_denoising(parser)
    add("--format", choices=["dicom", "nifti"], help="default: as the input")
    add("--overwrite", action="store_true", help="replace what another run left in the output")
    add("--report", type=Path, metavar="FILE.json", help="what was done, as JSON")
    add(
        "--hash-uids",
        action="store_true",
        help="digests for UIDs in the report (who knows a UID can tell its digest)",
    )
    add(
        "--deidentify",
        action="store_true",
        help="the basic profile of DICOM PS3.15 on the headers of the output, and --hash-uids; "
        "pixels are not looked at (needs ctdenoise[deidentify])",
    )
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("--quiet", action="store_true", help="say problems only")
    loudness.add_argument("--verbose", action="store_true", help="say each file left out as well")
    add_show_paths(parser)
    parser.set_defaults(command=execute)


def execute(options: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    check_denoising(options)
    if options.deidentify:
        check_deidentify(options)
    if options.report is not None and options.report.is_dir():
        raise CTDenoiseError("--report: is a folder; name a file")
    source, uids = _input(options.input, options.output)

    from ctdenoise.progress import Progress, Verbosity
    from ctdenoise.run import run

    denoiser = open_denoiser(options)
    settings = settings_of(
        options,
        format=options.format,
        overwrite=options.overwrite,
        deidentify=options.deidentify,
    )
    verbosity: Verbosity = "quiet" if options.quiet else "verbose" if options.verbose else "normal"
    with source as files:
        report = run(files, options.output, denoiser, settings, Progress(verbosity))
    report.retrieved = uids
    if options.report is not None:
        report.write(options.report, hash_uids=options.hash_uids or options.deidentify)
    if not report.series:
        reasons = {item["reason"] for item in report.left_out}
        why = reasons.pop() if len(reasons) == 1 else f"{len(report.left_out)} files left out"
        raise CTDenoiseError(f"--input: no CT series to denoise ({why})")
    return report.exit_code


def _input(text: str, output: Path) -> tuple[AbstractContextManager[Path], dict[str, str]]:
    """The files of ``--input``, below ``output`` while they are needed if they are retrieved.

    Returns:
        The files, and the UIDs that a URL names.

    Raises:
        CTDenoiseError: it names nothing that there is, or could be.
    """
    from ctdenoise.temporary import RETRIEVED, remove_left

    remove_left(output, RETRIEVED)
    path = Path(text)
    if path.exists():
        return nullcontext(path), {}

    from ctdenoise.pacs.web import fetched, is_url, uids_of

    if not is_url(text):
        raise CTDenoiseError("--input: no such file or folder")
    uids = uids_of(text)
    return fetched(text, output), uids
