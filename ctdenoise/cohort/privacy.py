"""What is said of files, without their names: these may be the names of patients."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from ctdenoise.file_names import named


def without_paths(text: str, paths: Iterable[Path]) -> str:
    """A message from elsewhere, such as the system's, with digests of paths in place of them."""
    for path in paths:
        text = text.replace(str(path), named(path))
    return text


def count_reasons(reasons: Iterable[str]) -> dict[str, int]:
    """How many files were left out for each reason."""
    counts: dict[str, int] = {}
    for reason in reasons:
        said = re.sub(r"^(same .*) as .*", r"\1 as another file", reason)
        counts[said] = counts.get(said, 0) + 1
    return counts
