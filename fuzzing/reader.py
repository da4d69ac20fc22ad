"""Fuzz the reader: ``python -m fuzzing.reader --runs 100000 [FOLDER]``.

Needs ``pip install atheris``. FOLDER keeps what was found to be worth trying, for a later run to go
on from; what breaks the reader is left in it as ``crash-*``, ``oom-*`` or ``timeout-*``.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from fuzzing.seeds import write_seeds

_SAMPLE = Path(__file__).parents[1] / "sample_dicom" / "1-12.dcm"
_FINDINGS = ("crash-*", "oom-*", "timeout-*")
_MAX_BYTES = 65536


def main() -> int:
    """Do it; returns 1 if something was found."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--memory", type=int, default=1024, metavar="MIB")
    parser.add_argument("--timeout", type=int, default=60, metavar="SECONDS", help="of one file")
    parser.add_argument("corpus", type=Path, nargs="?", metavar="FOLDER")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        seeds = Path(temporary)
        write_seeds(_SAMPLE, seeds)
        corpus = options.corpus or seeds / "corpus"
        corpus.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            *("-m", "fuzzing.target"),
            f"-runs={options.runs}",
            f"-seed={options.seed}",
            f"-rss_limit_mb={options.memory}",
            f"-timeout={options.timeout}",
            f"-max_len={_MAX_BYTES}",
            f"-artifact_prefix={corpus}/",
            "-print_final_stats=1",
            str(corpus),
            str(seeds),
        ]
        said = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace")
    sys.stderr.write(said.stderr[-4000:])
    count = re.search(r"number_of_executed_units:\s*(\d+)", said.stderr)
    memory = re.search(r"peak_rss_mb:\s*(\d+)", said.stderr)
    found = [path.name for pattern in _FINDINGS for path in corpus.glob(pattern)]
    print(
        f"{count.group(1) if count else 0} executions, {len(found)} findings, "
        f"at most {memory.group(1) if memory else '?'} MiB"
    )
    return int(bool(found) or said.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
