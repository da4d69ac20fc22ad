"""``ctdenoise simulate``: series at a lower dose."""

from __future__ import annotations

import argparse
from pathlib import Path

from ctdenoise.commands.common import (
    Subparsers,
    add_show_paths,
    add_threads_and_verbose,
    positive,
    threads_of,
)
from ctdenoise.errors import CTDenoiseError


def add_to(commands: Subparsers) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("simulate", help="bring CT series to a lower dose")
    add = parser.add_argument
    add("--input", type=Path, required=True, metavar="PATH", help="CT: DICOM or NIfTI")
    add("--output", type=Path, required=True, metavar="DIR", help="a folder a series below it")
    add("--dose", type=float, required=True, metavar="FRACTION", help="of the series' own dose")
    add("--seed", type=int, default=0, metavar="N", help="of the noise (default: 0)")
    add("--kernel", metavar="NAME", help="of the reconstruction of the noise (default: hann)")
    add("--kev", type=float, metavar="KEV", help="effective energy (default: 65)")
    add("--electronic-noise", type=float, metavar="COUNTS", help="of the detector (default: 10)")
    add("--views", type=positive, metavar="N", help="over half a turn (default: 900)")
    add(
        "--photons",
        type=float,
        metavar="N",
        help="of a ray through air at full dose (default: matched to the noise of the series)",
    )
    add("--overwrite", action="store_true", help="replace what another run left in the output")
    add_threads_and_verbose(parser)
    add_show_paths(parser)
    parser.set_defaults(command=execute)


def execute(options: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    if not 0.0 < options.dose <= 1.0:
        raise CTDenoiseError(f"--dose {options.dose:g}: give a fraction above 0, at most 1")
    if not options.input.exists():
        raise CTDenoiseError("--input: no such file or folder")

    import torch

    from ctdenoise.noise.low_dose import Scan
    from ctdenoise.progress import Progress
    from ctdenoise.simulate import Simulation, simulate

    torch.set_num_threads(threads_of(options))
    chosen = {
        "photons": options.photons,
        "electronic_noise": options.electronic_noise,
        "kev": options.kev,
        "views": options.views,
        "kernel": options.kernel,
    }
    try:
        scan = Scan(**{name: value for name, value in chosen.items() if value is not None})
    except ValueError as error:
        raise CTDenoiseError(str(error)) from None
    simulation = Simulation(
        dose=options.dose, scan=scan, matched=options.photons is None, seed=options.seed
    )
    progress = Progress("verbose" if options.verbose else "normal")
    failed = simulate(
        options.input, options.output, simulation, progress, overwrite=options.overwrite
    )
    return 1 if failed else 0
