"""``ctdenoise evaluate``: judge denoisers."""

from __future__ import annotations

import argparse
from pathlib import Path

from ctdenoise.commands.common import (
    Subparsers,
    add_show_paths,
    add_threads_and_verbose,
    add_window,
    from_zero,
    positive,
    threads_of,
    window_of,
    words,
)


def add_to(commands: Subparsers) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("evaluate", help="judge denoisers on noise of any kind")
    add = parser.add_argument
    add(
        "--input",
        type=Path,
        nargs="+",
        required=True,
        metavar="PATH",
        help="photographs, or CT (DICOM or NIfTI) that serves as truth",
    )
    add("--output", type=Path, required=True, metavar="DIR", help="of the table and the report")
    add("--noise", default="", metavar="NAME:STRENGTH,...", help="such as gaussian:25,lowdose:0.25")
    add("--reference", type=Path, metavar="SERIES", help="the truth of a real pair")
    add(
        "--methods",
        default="lite,nlm,tv,wavelet",
        metavar="NAME,...",
        help="models, nlm, tv, wavelet, curvature-flow, bm3d, bm3d-psd, identity, module:function",
    )
    add(
        "--protocol",
        choices=["paper-ct"],
        help="judge as the paper's CT test does: models see -1024 to 3072 HU as [0, 1], PSNR and "
        "SSIM are of that range over the whole slice; for real pairs",
    )
    add_window(parser)
    add("--seeds", type=positive, default=1, metavar="N", help="of each noise (default: 1)")
    add("--slices", type=positive, metavar="N", help="of each CT series (default: all)")
    add(
        "--validation",
        type=Path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="what the classical methods are tuned on; nothing of it may be judged",
    )
    add(
        "--tune-every",
        type=from_zero,
        default=5,
        metavar="N",
        help="without --validation, each N-th image tunes the classical methods and is not judged "
        "(default: 5; 0: none)",
    )
    add(
        "--phantom",
        type=from_zero,
        default=20,
        metavar="N",
        help="with CT and noise that is put in, judge on N scans of a phantom too (default: 20; "
        "0: none)",
    )
    add("--overwrite", action="store_true", help="replace figures of something else")
    add_threads_and_verbose(parser)
    add_show_paths(parser)
    parser.set_defaults(command=execute)


def execute(options: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    import torch

    from ctdenoise.evaluation.command import Evaluation, run_evaluation
    from ctdenoise.progress import Progress

    threads = threads_of(options)
    # Images go side by side, each on one thread.
    torch.set_num_threads(1)
    settings = Evaluation(
        inputs=options.input,
        reference=options.reference,
        noises=words(options.noise),
        methods=words(options.methods),
        seeds=options.seeds,
        slices=options.slices,
        validation=options.validation,
        tune_every=options.tune_every,
        phantom=options.phantom,
        window=window_of(options),
        protocol=options.protocol,
    )
    return run_evaluation(
        settings,
        options.output,
        threads=threads,
        overwrite=options.overwrite,
        progress=Progress("verbose" if options.verbose else "normal"),
    )
