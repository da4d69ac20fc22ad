"""The one exception that reaches a user, as a single line."""

from __future__ import annotations


class CTDenoiseError(Exception):
    """Something a user can act on: the message says what, which file, and what to do."""


def one_line(error: BaseException) -> str:
    """An error that is no :class:`CTDenoiseError`, as one line of at most 200 characters."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
