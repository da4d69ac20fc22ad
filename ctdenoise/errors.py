"""The one exception that reaches a user, as a single line."""

from __future__ import annotations


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
