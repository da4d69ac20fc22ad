"""The one exception that reaches a user, as a single line."""

from __future__ import annotations

import traceback
from pathlib import Path


class CTDenoiseError(Exception):
    """Something a user can act on: the message says what, which file, and what to do."""


class DamagedError(ValueError):
    """What is wrong with a file, in words of this program, which quote nothing of it."""


def one_line(error: BaseException) -> str:
    """An error that is no :class:`CTDenoiseError`, as one line of at most 200 characters.

    Of an operating system's error without its path, which may name a patient.
    """
    said = error.strerror if isinstance(error, OSError) and error.strerror else error
    return " ".join(f"{type(error).__name__}: {said}".split())[:200]


def unforeseen(error: BaseException) -> str:
    """What nobody foresaw in a user's data: its kind and place, not its words.

    Those may quote a header or a path, which may name a patient.
    """
    if isinstance(error, OSError) and error.strerror:
        return one_line(error)
    ours = Path(__file__).parent
    frames = traceback.extract_tb(error.__traceback__)
    places = [f for f in frames if ours in Path(f.filename).parents] or frames
    where = f" in {Path(places[-1].filename).name}, line {places[-1].lineno}" if places else ""
    return f"{type(error).__name__}{where}"
