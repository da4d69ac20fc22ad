"""Names of files: nothing that a peer says becomes part of a path."""

from __future__ import annotations

import hashlib


def digest(*uids: str) -> str:
    """What stands for UIDs in names of files."""
    return hashlib.sha256(" ".join(uids).encode()).hexdigest()[:32]
