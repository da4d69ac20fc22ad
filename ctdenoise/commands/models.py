"""``ctdenoise models``: the models that have a name."""

from __future__ import annotations

import argparse

from ctdenoise.commands.common import Subparsers


def add_to(commands: Subparsers) -> None:
    """Add the command."""
    parser = commands.add_parser("models", help="list the models")
    parser.set_defaults(command=execute)


def execute(_: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    from ctdenoise.models.registry import summaries

    for model in summaries():
        print(
            f"{model.name}\n  size:           {model.size}\n  origin:         {model.origin}"
            f"\n  licence:        {model.licence}\n  training noise: {model.training_noise}"
        )
    return 0
