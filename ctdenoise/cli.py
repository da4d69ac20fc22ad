"""The command line. Heavy imports happen inside the commands, so that --help is fast."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import warnings
from collections.abc import Sequence

from ctdenoise import __version__
from ctdenoise.allocator import keep_freed_memory
from ctdenoise.commands import COMMANDS, train
from ctdenoise.errors import CTDenoiseError, one_line, unforeseen
from ctdenoise.file_names import show_paths

UNEXPECTED = 1
NOTHING_USABLE = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(_join_window(sys.argv[1:] if arguments is None else arguments))
    warnings.filterwarnings("ignore")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    keep_freed_memory()
    show_paths(getattr(options, "show_paths", False))
    try:
        return int(options.command(options))
    except CTDenoiseError as error:
        print(f"ctdenoise: {error}", file=sys.stderr)
        return NOTHING_USABLE
    except Exception as error:  # a fault of ours: still one line, unless asked for more
        if getattr(options, "verbose", False):
            raise
        say = one_line if options.command is train.execute else unforeseen
        print(f"ctdenoise: unexpected {say(error)}; --verbose says more", file=sys.stderr)
        return UNEXPECTED
    except KeyboardInterrupt:
        print(
            "ctdenoise: interrupted; what is finished is kept, run again to go on", file=sys.stderr
        )
        return INTERRUPTED


def _join_window(arguments: Sequence[str]) -> list[str]:
    """``--window -160,240`` as one argument: argparse takes ``-160,240`` for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] == "--window":
            joined[-1] = f"--window={argument}"
        else:
            joined.append(argument)
    return joined


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ctdenoise",
        description="Take the noise out of low-dose CT. For research only: not a medical device.",
    )
    parser.add_argument("--version", action="version", version=f"ctdenoise {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_to(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
