"""Options of the commands that denoise series: which model, how, and what is written."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ctdenoise.commands.common import add_window, positive, threads_of, window_of
from ctdenoise.errors import CTDenoiseError

if TYPE_CHECKING:
    from ctdenoise.denoiser import Denoiser
    from ctdenoise.run import RunSettings

TRANSFER_SYNTAXES = {
    "explicit": "1.2.840.10008.1.2.1",
    "rle": "1.2.840.10008.1.2.5",
    "jpeg-ls": "1.2.840.10008.1.2.4.80",
    "jpeg-2000": "1.2.840.10008.1.2.4.90",
}
"""Those that are written, all without loss, by name. Source: DICOM PS3.6 table A-1."""


def add_denoising(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add(
        "--model",
        default="lite",
        metavar="NAME|FILE",
        help="a name from `ctdenoise models`, or a weights file (default: lite)",
    )
    add(
        "--clip-weights",
        metavar="FILE|NAME",
        help="for clip-rn50: CLIP's weights; a NAME (openai) is downloaded",
    )
    add("--decoder", type=Path, metavar="FILE", help="for clip-rn50: the decoder's weights")
    add_window(parser)
    add("--strength", type=float, default=1.0, metavar="0..1", help="1 is full (default)")
    add("--device", default="auto", metavar="auto|cpu|cuda[:N]")
    add(
        "--backend",
        default="auto",
        choices=["auto", "torch", "openvino"],
        help="what computes the network; auto takes the fastest that is installed",
    )
    add("--precision", default="fp32", choices=["fp32", "bf16", "fp16"])
    add(
        "--batch-size",
        type=positive,
        metavar="N",
        help="slices at once (default: 1 on a CPU; on a GPU as many as should fit, up to 16)",
    )
    add(
        "--threads",
        type=positive,
        metavar="N",
        help="default: SLURM_CPUS_PER_TASK, or the CPUs this process may use",
    )
    add(
        "--transfer-syntax",
        default="explicit",
        metavar="|".join(TRANSFER_SYNTAXES),
        help="of the DICOM: explicit little endian (default), or compressed without loss; a UID "
        "of one of these as well",
    )
    add(
        "--keep-primary",
        action="store_true",
        help="keep PRIMARY in the image type, for software that drops SECONDARY",
    )
    add("--keep-private", action="store_true", help="keep private attributes")


def check_denoising(options: argparse.Namespace) -> None:
    """Make sure of what can be told without loading anything.

    Raises:
        CTDenoiseError: a value is out of range.
    """
    window_of(options)
    transfer_syntax_of(options)
    if not 0.0 <= options.strength <= 1.0:
        raise CTDenoiseError(f"--strength {options.strength:g}: give a number from 0 to 1")


def check_deidentify(options: argparse.Namespace) -> None:
    """Make sure that what comes out can be de-identified.

    Raises:
        CTDenoiseError: the library is not there, or private attributes are to be kept.
    """
    if options.keep_private:
        raise CTDenoiseError("--deidentify removes private attributes: leave out --keep-private")
    if find_spec("dicomanonymizer") is None:
        raise CTDenoiseError("--deidentify needs: pip install 'ctdenoise[deidentify]'")


def transfer_syntax_of(options: argparse.Namespace) -> str | None:
    """UID of the transfer syntax that compresses without loss; None is explicit little endian.

    Raises:
        CTDenoiseError: it is none that is written.
    """
    wanted = options.transfer_syntax
    uid = TRANSFER_SYNTAXES.get(wanted, wanted)
    if uid not in TRANSFER_SYNTAXES.values():
        raise CTDenoiseError(
            f"--transfer-syntax {wanted}: use {', '.join(TRANSFER_SYNTAXES)} or a UID of these"
        )
    return None if uid == TRANSFER_SYNTAXES["explicit"] else str(uid)


def open_denoiser(options: argparse.Namespace) -> Denoiser:
    """The model, ready to denoise.

    Raises:
        CTDenoiseError: it is not there, or its device or backend is not.
    """
    from ctdenoise.denoiser import Denoiser
    from ctdenoise.models.registry import load

    model = load(options.model, clip_weights=options.clip_weights, decoder=options.decoder)
    return Denoiser(
        model,
        device=options.device,
        precision=options.precision,
        batch_size=options.batch_size,
        backend=options.backend,
        threads=threads_of(options),
    )


def settings_of(
    options: argparse.Namespace,
    *,
    format: Literal["dicom", "nifti"] | None = None,
    overwrite: bool = False,
    deidentify: bool = False,
) -> RunSettings:
    """What a run does beside the model."""
    from pydicom.uid import UID

    from ctdenoise.run import RunSettings

    syntax = transfer_syntax_of(options)
    return RunSettings(
        window=window_of(options),
        strength=options.strength,
        format=format,
        syntax=None if syntax is None else UID(syntax),
        overwrite=overwrite,
        deidentify=deidentify,
        keep_primary=options.keep_primary,
        keep_private=options.keep_private,
    )
