"""What a node is told: who it is, whom it hears, whom it sends to, and its limits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ctdenoise.errors import CTDenoiseError

ANY = "*"
"""Stands for every AE title in a list of those that may call."""


def check_aet(title: str) -> str:
    """An AE title, without the spaces about it, which mean nothing.

    Raises:
        CTDenoiseError: it is none (DICOM PS3.5 section 6.2, value representation AE).
    """
    stripped = title.strip(" ")
    if not 1 <= len(stripped) <= 16 or any(not " " <= c <= "~" or c == "\\" for c in stripped):
        raise CTDenoiseError(
            f"{title!r} is no AE title: 1 to 16 characters of ASCII, and no backslash"
        )
    return stripped


@dataclass(frozen=True)
class Peer:
    """Where derived series go."""

    aet: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Peer:
        """A peer from ``AET@host:port``; an IPv6 address is in brackets.

        Raises:
            CTDenoiseError: it is none.
        """
        aet, at, address = text.rpartition("@")
        host, _, port = address.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not (at and host and port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
            raise CTDenoiseError(f"{text}: give AET@host:port, such as ORTHANC@127.0.0.1:4242")
        return cls(check_aet(aet), host, int(port))

    def __str__(self) -> str:
        return f"{self.aet}@{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """Everything that a node is told beside the model.

    Attributes:
        aet: its own AE title, which callers must use.
        host: address it listens at; empty for all.
        port: of DICOM.
        forward: who gets the derived series.
        allow: AE titles that may call; :data:`ANY` in it stands for all.
        spool: folder of everything that was accepted and is not yet done.
        quiet_time: seconds without an object of a series, after which it is taken for whole.
        retries: tries to denoise or to send a series, before it becomes a dead letter.
        retry_delay: seconds before the second try; doubled with every one that follows.
        longest_delay: seconds, most that is waited for the next try.
        max_associations: open at once.
        idle_time: seconds, after which a caller that says nothing is cut off.
        max_object_bytes: size of an object, as it comes and inflated.
        min_free_bytes: of the disk, that stay free.
        remember: seconds for which a series that was sent on is known, if it comes again.
        http_host: address of health and counters.
        http_port: of them; None for none.
    """

    aet: str
    port: int
    forward: Peer
    spool: Path
    allow: frozenset[str]
    host: str = ""
    quiet_time: float = 30.0
    retries: int = 8
    retry_delay: float = 10.0
    longest_delay: float = 600.0
    max_associations: int = 10
    idle_time: float = 60.0
    max_object_bytes: int = 512 * 2**20
    min_free_bytes: int = 2**30
    remember: float = 24 * 3600.0
    http_host: str = "127.0.0.1"
    http_port: int | None = None
