"""The command line. Heavy imports happen inside the commands, so that --help is fast."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ctdenoise import __version__
from ctdenoise.errors import CTDenoiseError, one_line

if TYPE_CHECKING:
    from ctdenoise.hounsfield import HUWindow

UNEXPECTED = 1
NOTHING_USABLE = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(_join_window(sys.argv[1:] if arguments is None else arguments))
    warnings.filterwarnings("ignore")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return int(options.command(options))
    except CTDenoiseError as error:
        print(f"ctdenoise: {error}", file=sys.stderr)
        return NOTHING_USABLE
    except Exception as error:  # a fault of ours: still one line, unless asked for more
        if getattr(options, "verbose", False):
            raise
        print(f"ctdenoise: unexpected {one_line(error)}; --verbose says more", file=sys.stderr)
        return UNEXPECTED
    except KeyboardInterrupt:
        print(
            "ctdenoise: interrupted; what is finished is kept, run again to go on", file=sys.stderr
        )
        return INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    window = _window(options)
    if not 0.0 <= options.strength <= 1.0:
        raise CTDenoiseError(f"--strength {options.strength:g}: give a number from 0 to 1")
    if options.report is not None and options.report.is_dir():
        raise CTDenoiseError(f"--report {options.report}: is a folder; name a file")
    if not options.input.exists():
        raise CTDenoiseError(f"{options.input}: no such file or folder")

    import torch

    from ctdenoise.denoiser import Denoiser
    from ctdenoise.models.registry import load
    from ctdenoise.progress import Progress, Verbosity
    from ctdenoise.run import RunSettings, run

    torch.set_num_threads(_threads(options))
    model = load(options.model, clip_weights=options.clip_weights, decoder=options.decoder)
    denoiser = Denoiser(
        model, device=options.device, precision=options.precision, batch_size=options.batch_size
    )
    settings = RunSettings(
        window=window,
        strength=options.strength,
        format=options.format,
        compression=options.compression,
        overwrite=options.overwrite,
        keep_primary=options.keep_primary,
        keep_private=options.keep_private,
    )
    verbosity: Verbosity = "quiet" if options.quiet else "verbose" if options.verbose else "normal"
    report = run(options.input, options.output, denoiser, settings, Progress(verbosity))
    if options.report is not None:
        report.write(options.report)
    if not report.series:
        reasons = {item["reason"] for item in report.left_out}
        why = reasons.pop() if len(reasons) == 1 else f"{len(report.left_out)} files left out"
        raise CTDenoiseError(f"{options.input}: no CT series to denoise ({why})")
    return report.exit_code


def _models(_: argparse.Namespace) -> int:
    from ctdenoise.models.registry import summaries

    for model in summaries():
        print(
            f"{model.name}\n  size:           {model.size}\n  origin:         {model.origin}"
            f"\n  licence:        {model.licence}\n  training noise: {model.training_noise}"
        )
    return 0


def _train(options: argparse.Namespace) -> int:
    import torch

    from ctdenoise.training.command import train

    torch.set_num_threads(_threads(options))
    train(options.config, data=options.data, output=options.output, overrides=options.overrides)
    return 0


def _simulate(options: argparse.Namespace) -> int:
    if not 0.0 < options.dose <= 1.0:
        raise CTDenoiseError(f"--dose {options.dose:g}: give a fraction above 0, at most 1")
    if not options.input.exists():
        raise CTDenoiseError(f"{options.input}: no such file or folder")

    import torch

    from ctdenoise.noise.low_dose import Scan
    from ctdenoise.progress import Progress
    from ctdenoise.simulate import Simulation, simulate

    torch.set_num_threads(_threads(options))
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


def _evaluate(options: argparse.Namespace) -> int:
    import torch

    from ctdenoise.evaluation.command import Evaluation, run_evaluation
    from ctdenoise.progress import Progress

    threads = _threads(options)
    # Images go side by side, each on one thread.
    torch.set_num_threads(1)
    settings = Evaluation(
        inputs=options.input,
        reference=options.reference,
        noises=_words(options.noise),
        methods=_words(options.methods),
        seeds=options.seeds,
        slices=options.slices,
        validation=options.validation,
        tune_every=options.tune_every,
        phantom=options.phantom,
        window=_window(options),
        protocol=options.protocol,
    )
    return run_evaluation(
        settings,
        options.output,
        threads=threads,
        overwrite=options.overwrite,
        progress=Progress("verbose" if options.verbose else "normal"),
    )


def _features(options: argparse.Namespace) -> int:
    import torch

    from ctdenoise.evaluation.features import analyse, parse_encoder
    from ctdenoise.evaluation.images import references
    from ctdenoise.evaluation.noises import Noise
    from ctdenoise.progress import Progress

    torch.set_num_threads(_threads(options))
    noises = [Noise.parse(text) for text in _words(options.noise)]
    encoder = parse_encoder(options.model, options.clip_weights)
    images = references(options.images, slices=options.slices)
    print(analyse(encoder, images, noises, options.output, Progress()))
    return 0


def _words(text: str) -> list[str]:
    return list(dict.fromkeys(word for word in text.split(",") if word))


def _join_window(arguments: Sequence[str]) -> list[str]:
    """``--window -160,240`` as one argument: argparse takes ``-160,240`` for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--window":
            joined[-1] = f"--window={argument}"
        else:
            joined.append(argument)
    return joined


def _window(options: argparse.Namespace) -> HUWindow | None:
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


def _threads(options: argparse.Namespace) -> int:
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


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text}: give a whole number from 1 on")
    return int(text)


def _from_zero(text: str) -> int:
    return 0 if text == "0" else _positive(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ctdenoise",
        description="Take the noise out of low-dose CT. For research only: not a medical device.",
    )
    parser.add_argument("--version", action="version", version=f"ctdenoise {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_run(commands.add_parser("run", help="denoise the CT series at a path"))
    _add_train(commands.add_parser("train", help="train a model by a recipe"))
    _add_simulate(commands.add_parser("simulate", help="bring CT series to a lower dose"))
    _add_evaluate(commands.add_parser("evaluate", help="judge denoisers on noise of any kind"))
    _add_features(commands.add_parser("features", help="what an encoder makes of noise"))
    models = commands.add_parser("models", help="list the models")
    models.set_defaults(command=_models)
    return parser


def _add_threads_and_verbose(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=_positive, metavar="N", help="default: as for run")
    parser.add_argument("--verbose", action="store_true", help="a fault with its traceback")


def _add_window(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--window",
        default="auto",
        metavar="auto|LO,HI",
        help="HU that become the network's [0, 1]; auto matches the noise of the series",
    )


def _add_train(parser: argparse.ArgumentParser) -> None:
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
    _add_threads_and_verbose(parser)
    add("overrides", nargs="*", metavar="KEY=VALUE", help="of the recipe, such as iterations=1000")
    parser.set_defaults(command=_train)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
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
    _add_window(parser)
    add("--seeds", type=_positive, default=1, metavar="N", help="of each noise (default: 1)")
    add("--slices", type=_positive, metavar="N", help="of each CT series (default: all)")
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
        type=_from_zero,
        default=5,
        metavar="N",
        help="without --validation, each N-th image tunes the classical methods and is not judged "
        "(default: 5; 0: none)",
    )
    add(
        "--phantom",
        type=_from_zero,
        default=20,
        metavar="N",
        help="with CT and noise that is put in, judge on N scans of a phantom too (default: 20; "
        "0: none)",
    )
    add("--overwrite", action="store_true", help="replace figures of something else")
    _add_threads_and_verbose(parser)
    parser.set_defaults(command=_evaluate)


def _add_features(parser: argparse.ArgumentParser) -> None:
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
    add("--slices", type=_positive, metavar="N", help="of each CT series (default: all)")
    _add_threads_and_verbose(parser)
    parser.set_defaults(command=_features)


def _add_simulate(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--input", type=Path, required=True, metavar="PATH", help="CT: DICOM or NIfTI")
    add("--output", type=Path, required=True, metavar="DIR", help="a folder a series below it")
    add("--dose", type=float, required=True, metavar="FRACTION", help="of the series' own dose")
    add("--seed", type=int, default=0, metavar="N", help="of the noise (default: 0)")
    add("--kernel", metavar="NAME", help="of the reconstruction of the noise (default: hann)")
    add("--kev", type=float, metavar="KEV", help="effective energy (default: 65)")
    add("--electronic-noise", type=float, metavar="COUNTS", help="of the detector (default: 10)")
    add("--views", type=_positive, metavar="N", help="over half a turn (default: 900)")
    add(
        "--photons",
        type=float,
        metavar="N",
        help="of a ray through air at full dose (default: matched to the noise of the series)",
    )
    add("--overwrite", action="store_true", help="replace what another run left in the output")
    _add_threads_and_verbose(parser)
    parser.set_defaults(command=_simulate)


def _add_run(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--input",
        type=Path,
        required=True,
        metavar="PATH",
        help="a DICOM file, a folder tree, a .zip of one, or .nii/.nii.gz",
    )
    add(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="each series gets a folder of its own below it",
    )
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
    _add_window(parser)
    add("--strength", type=float, default=1.0, metavar="0..1", help="1 is full (default)")
    add("--device", default="auto", metavar="auto|cpu|cuda[:N]")
    add("--precision", default="fp32", choices=["fp32", "bf16", "fp16"])
    add("--batch-size", type=_positive, default=1, metavar="N", help="slices at once (default: 1)")
    add(
        "--threads",
        type=_positive,
        metavar="N",
        help="default: SLURM_CPUS_PER_TASK, or the CPUs this process may use",
    )
    add("--format", choices=["dicom", "nifti"], help="default: as the input")
    add(
        "--compression",
        choices=["rle", "jpeg-ls", "jpeg-2000"],
        help="compress the DICOM without loss (default: explicit little endian)",
    )
    add("--overwrite", action="store_true", help="replace what another run left in the output")
    add(
        "--keep-primary",
        action="store_true",
        help="keep PRIMARY in the image type, for software that drops SECONDARY",
    )
    add("--keep-private", action="store_true", help="keep private attributes")
    add("--report", type=Path, metavar="FILE.json", help="what was done, as JSON")
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("--quiet", action="store_true", help="say problems only")
    loudness.add_argument("--verbose", action="store_true", help="say each file left out as well")
    parser.set_defaults(command=_run)


if __name__ == "__main__":
    sys.exit(main())
