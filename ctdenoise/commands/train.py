"""``ctdenoise train``: train a model by a recipe."""

from __future__ import annotations

import argparse
from pathlib import Path

from ctdenoise.commands.common import Subparsers, add_threads_and_verbose, threads_of


def add_to(commands: Subparsers) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("train", help="train a model by a recipe")
    add = parser.add_argument
    add(
        "--config",
        required=True,
        action="append",
        metavar="FILE|NAME",
        help="a recipe: a MONAI bundle configuration, or the name of an embedded one; given "
        "more than once, later ones override",
    )
    add("--data", type=Path, required=True, metavar="DIR", help="photographs, or CT")
    add(
        "--output",
        type=Path,
        metavar="DIR",
        help="checkpoints and the model; a training that was interrupted goes on from there",
    )
    add_threads_and_verbose(parser)
    add("overrides", nargs="*", metavar="KEY=VALUE", help="of the recipe, such as iterations=1000")
    parser.set_defaults(command=execute)


def execute(options: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    import torch

    from ctdenoise.training.command import train

    torch.set_num_threads(threads_of(options))
    train(options.config, data=options.data, output=options.output, overrides=options.overrides)
    return 0
