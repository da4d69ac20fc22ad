"""A real scheduler with two worker processes, and small series of patients who do not exist."""

from __future__ import annotations

import csv
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest

from ctdenoise.cli import main
from tests.made import make

pytest.importorskip("distributed")

from distributed import SpecCluster

from ctdenoise.cohort.cluster import local_workers, worker_options

PATIENT = "DOE_JANE"
Cohort = Callable[..., int]


@pytest.fixture(scope="session")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where :mod:`tests.cohort.orders` looks."""
    return tmp_path_factory.mktemp("orders")


@pytest.fixture
def order(orders: Path) -> Iterator[Callable[[Path, str], str]]:
    """Order a series to do something; gives its UID."""

    def give(folder: Path, what: str) -> str:
        uid = uid_of(folder)
        (orders / uid).write_text(what)
        return uid

    yield give
    for path in orders.iterdir():
        path.unlink()


@pytest.fixture(scope="session")
def cluster(orders: Path) -> Iterator[SpecCluster]:
    """Two worker processes that obey orders."""
    with start(orders, 2) as started:
        yield started


def start(orders: Path, count: int) -> SpecCluster:
    """Worker processes that the command would start, but they obey orders."""
    obey = {"preload": ["tests.cohort.orders"], "env": {"ORDERS": str(orders)}}
    return local_workers([options | obey for options in worker_options(count)])


@pytest.fixture
def cohort(small_model: Path, tmp_path: Path, cluster: SpecCluster) -> Cohort:
    """Run the command with the small model on the two workers, writing to tmp_path/out."""

    def call(source: Path, *arguments: object) -> int:
        options = [str(argument) for argument in arguments]
        for name, value in (
            ("--model", small_model),
            ("--output", tmp_path / "out"),
            ("--scheduler", cluster.scheduler_address),
        ):
            if name not in options:
                options += [name, str(value)]
        return main(["cohort", "--input", str(source), *options])

    return call


@pytest.fixture
def series(tmp_path: Path) -> list[Path]:
    """Four series of three small slices, in folders and files that are named after a patient."""
    return [make_patient(tmp_path / "in" / f"{PATIENT}_{place}") for place in range(4)]


def make_patient(folder: Path, slices: int = 3) -> Path:
    """A small series."""
    make("series", folder, slices)
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.PatientName, dataset.PatientID = "Doe^Jane", PATIENT
        dataset.PatientBirthDate = "19500101"
        dataset.save_as(folder / f"{PATIENT}_{path.name}")
        path.unlink()
    return folder


def uid_of(folder: Path) -> str:
    """Series Instance UID of what is in a folder."""
    return str(pydicom.dcmread(next(iter(sorted(folder.iterdir())))).SeriesInstanceUID)


def break_pixels(folder: Path) -> None:
    """Cut the pixels of all files short."""
    for path in folder.iterdir():
        os.truncate(path, path.stat().st_size - 1000)


def zipped(folder: Path) -> Path:
    """A zip of a folder, which goes."""
    archive = Path(shutil.make_archive(str(folder), "zip", folder))
    shutil.rmtree(folder)
    return archive


def rows_of(output: Path) -> list[dict[str, str]]:
    """The table."""
    with (output / "cohort.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def wait_for(something: Callable[[], object]) -> None:
    """Wait until there is something, not forever."""
    end = time.monotonic() + 60
    while not something():
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def running(function: Callable[[], None]) -> Iterator[None]:
    """A function in the background, which has ended at the end of the block."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(function)
        yield
        future.result()
