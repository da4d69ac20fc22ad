"""``ctdenoise features``: what an encoder makes of noise."""

from __future__ import annotations

import argparse
from pathlib import Path

from ctdenoise.commands.common import (
    Subparsers,
    add_show_paths,
    add_threads_and_verbose,
    positive,
    threads_of,
    words,
)


def add_to(commands: Subparsers) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("features", help="what an encoder makes of noise")
    add = parser.add_argument
    add(
        "--model",
        default="lite",
        metavar="NAME|FILE",
        help="lite, random, clip-rn50, resnet50:FILE (torchvision's), or a file of a denoiser or "
        "an encoder",
    )
    add("--clip-weights", metavar="FILE|NAME", help="for clip-rn50; a NAME (openai) is downloaded")
    add("--images", type=Path, nargs="+", required=True, metavar="PATH", help="photographs or CT")
    add("--output", type=Path, required=True, metavar="DIR", help="of tables and plots")
    add("--noise", default="gaussian:15,gaussian:50,poisson:3.5,salt-pepper:0.02", metavar="...")
    add("--slices", type=positive, metavar="N", help="of each CT series (default: all)")
    add_threads_and_verbose(parser)
    add_show_paths(parser)
    parser.set_defaults(command=execute)


def execute(options: argparse.Namespace) -> int:
    """Do it; returns the exit code."""
    import torch

    from ctdenoise.evaluation.features import analyse, parse_encoder
    from ctdenoise.evaluation.images import references
    from ctdenoise.evaluation.noises import Noise
    from ctdenoise.progress import Progress

    torch.set_num_threads(threads_of(options))
    noises = [Noise.parse(text) for text in words(options.noise)]
    encoder = parse_encoder(options.model, options.clip_weights)
    images = references(options.images, slices=options.slices)
    print(analyse(encoder, images, noises, options.output, Progress()))
    return 0
