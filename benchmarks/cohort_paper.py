"""What a large cohort costs, on paper: from what a slice costs, and assumptions that are said."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from benchmarks.document import Section, Table

GPUS = (1, 4, 16, 64)
SERIES = 100_000
SLICES = 300


@dataclass(frozen=True)
class Slice:
    """What a slice costs where it was measured.

    Attributes:
        reading: seconds of one thread.
        network: seconds of all CPUs.
        writing: seconds of one thread.
        mb: read and written.
        finding: seconds that one process takes to look at its header.
        resume: seconds that a resume takes to see that a series of ``SLICES`` is done.
    """

    reading: float
    network: float
    writing: float
    mb: float
    finding: float
    resume: float


def on_paper(cost: Slice, *, rate: float, storage: float) -> Section:
    """What a large cohort takes, and of what it is short."""
    total = SERIES * SLICES
    workers = ceil(rate * max(cost.reading, cost.writing))
    cores = rate * (cost.reading + cost.writing)
    rows = []
    for gpus in GPUS:
        network, files = total / rate / gpus / 3600, total * cost.mb / storage / 3600
        most = max(network, files)
        rows.append(
            (
                *(str(gpus), str(gpus * workers), f"{gpus * cores:.0f}"),
                *(f"{network:.1f}", f"{files:.1f}"),
                "storage" if files > network else "GPUs",
                *(f"{most / 24:.1f}", f"{most * gpus:.0f}"),
            )
        )
    columns = (
        *("GPUs", "workers", "busy CPU cores", "network, h", "storage, h", "bottleneck", "days"),
        "GPU hours",
    )
    return Section(
        title=f"{SERIES:,} series of {SLICES} slices, on paper",
        said=(
            f"**Assumed**: a GPU denoises {rate:g} slices of 512x512 a second, and the storage "
            f"gives and takes {storage:g} MB/s altogether. **Measured here**: {cost.mb:.2f} MB a "
            f"slice read and written, {1e3 * cost.reading:.1f} ms of reading and "
            f"{1e3 * cost.writing:.1f} ms of writing a slice, each in a thread beside the network "
            f"(which took {1e3 * cost.network:.0f} ms on these CPUs), on a local disk.",
            "*Workers*: so many that their threads read and write as fast as the GPUs denoise; "
            "several share a GPU. *Busy CPU cores*: by reading and writing.",
        ),
        tables=(Table(columns, tuple(rows)),),
        notes=(
            f"Storage of that rate keeps {storage / cost.mb / rate:.0f} such GPUs busy; more of "
            "them wait for it.",
            f"All of it is {total * cost.mb / 1e6:.1f} TB, read and written.",
            f"On CPUs like these alone: {total * cost.network / 3600 / 24:.0f} days.",
            "With a folder as input, one process looks at each header first: "
            f"{total * cost.finding / 3600:.1f} h. With a manifest the workers do it.",
            f"A resume reads the reports of what is done: {SERIES * cost.resume / 60:.1f} minutes "
            "for all, from a local disk.",
        ),
    )
