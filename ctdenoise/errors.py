"""The one exception that reaches a user, as a single line."""

from __future__ import annotations


class CTDenoiseError(Exception):
    """Something a user can act on: the message says what, which file, and what to do."""
