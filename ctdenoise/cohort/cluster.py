"""Workers: of this machine, or of a Dask scheduler that is there already."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from distributed import (
    Client,
    Future,
    KilledWorker,
    Nanny,
    Scheduler,
    SpecCluster,
    wait,
)

from ctdenoise.cohort.job import Job, Outcome, Task
from ctdenoise.cohort.table import Row
from ctdenoise.cohort.worker import ModelPlugin, unfit, work
from ctdenoise.errors import CTDenoiseError, one_line

LOCAL = "local"
CONNECT_SECONDS = 10
_HERE = "127.0.0.1"
_BLAME = 1000
"""Workers of ours that may die before the scheduler gives up a task: claims are more exact."""


class Cluster:
    """Workers that have the model of a job.

    Args:
        client: of their scheduler.
        address: of the scheduler, as the user knows it.
        job: for all tasks.
        own: processes of ours that they are.

    Raises:
        CTDenoiseError: none of the workers that are there can do the job, or one has no ctdenoise.
    """

    def __init__(
        self, client: Client, address: str, job: Job, own: SpecCluster | None = None
    ) -> None:
        self.address = address
        self._client = client
        self._own = own
        self._plugin = f"ctdenoise-{job.command}"
        self._tries = 0
        try:
            client.register_plugin(ModelPlugin(job, own=own is not None), name=self._plugin)
        except Exception as error:  # such as no ctdenoise where they are
            raise CTDenoiseError(f"{address}: a worker cannot start: {one_line(error)}") from None
        infos = self._infos()
        self._resources = _resources(list(infos.values()), job.device, address)
        cannot = self.unfit()
        if cannot and len(cannot) == len(infos):
            raise CTDenoiseError(f"no worker can do it: {next(iter(cannot.values()))}")

    def unfit(self) -> dict[str, str]:
        """Workers that cannot do the job, and why."""
        said = self._client.run(unfit, self._plugin, on_error="ignore")
        return {address: why for address, why in said.items() if why is not None}

    def dismiss(self, worker: str) -> None:
        """Have a worker no more: it would take one task after the other, and do none."""
        info = self._infos().get(worker)
        if self._own is not None and info is not None:
            self._own.worker_spec.pop(info["name"], None)
        self._client.retire_workers([worker])

    def workers(self) -> int:
        """How many are there; missing ones of ours are started."""
        try:
            count = len(self._client.nthreads())
        except Exception:
            raise self._gone() from None
        if self._own is not None and count < len(self._own.worker_spec):
            # Those whose nanny is at it already are not started twice.
            self._own.scale(len(self._own.worker_spec))
        return count

    def submit(self, task: Task) -> Future:
        """Have a task done by one of them."""
        self._tries += 1
        return self._client.submit(
            work,
            self._plugin,
            task,
            key=f"{task.name}-{self._tries}",
            pure=False,
            resources=self._resources,
        )

    def finished(self, futures: Sequence[Future], seconds: float) -> list[Future]:
        """Those that are finished, as soon as one is; none if that takes longer.

        Raises:
            CTDenoiseError: the scheduler is gone.
        """
        try:
            return list(wait(futures, timeout=seconds, return_when="FIRST_COMPLETED").done)
        except asyncio.TimeoutError:
            if self._client.status == "running":
                return []
        except Exception:  # it says in several ways that it has lost the futures
            pass
        raise self._gone()

    def outcome(self, task: Task, future: Future) -> tuple[str, Outcome] | None:
        """What a finished task came to, and the worker's address.

        None if the worker died before it told: the task is done again, as if it were not finished.

        Raises:
            CTDenoiseError: the scheduler is gone.
        """
        if future.status == "error":
            row = Row(input=task.name, id=task.id, status="failed", reason=_why(future.exception()))
            return "", Outcome(rows=(row,), again=True)
        try:
            worker, outcome = future.result(timeout=CONNECT_SECONDS)
            return worker, outcome
        except asyncio.TimeoutError:
            if self._client.status == "running":
                return None
        except Exception:
            pass
        raise self._gone()

    def close(self) -> None:
        """Let the workers forget the model."""
        with suppress(Exception):  # the scheduler may be gone
            self._client.unregister_worker_plugin(self._plugin)

    def _infos(self) -> dict[str, dict[str, Any]]:
        # All of them: some versions of Dask tell of five, unless they are told to.
        found: dict[str, dict[str, Any]] = self._client.scheduler_info(n_workers=-1)["workers"]
        return found

    def _gone(self) -> CTDenoiseError:
        return CTDenoiseError(
            f"the scheduler at {self.address} is gone; what is finished is kept, run again to go on"
        )


@contextmanager
def connect(address: str, job: Job, workers: int, gpus: Sequence[str]) -> Iterator[Cluster]:
    """Workers with the model of a job.

    Args:
        address: of a scheduler; ``local`` starts workers of our own.
        job: for all tasks.
        workers: how many to start.
        gpus: of this machine, that workers of our own share.

    Raises:
        CTDenoiseError: there is no scheduler.
    """
    _silence_dask()
    if address == LOCAL:
        with local_workers(worker_options(workers, gpus)) as own, Client(own) as client:
            yield from _closing(Cluster(client, address, job, own))
        return
    try:
        client = Client(address, timeout=CONNECT_SECONDS)
    except Exception as error:  # an address may be wrong in many ways
        why = "no answer" if isinstance(error, OSError) else one_line(error)
        raise CTDenoiseError(f"--scheduler {address}: no Dask scheduler there ({why})") from None
    with client:
        yield from _closing(Cluster(client, address, job))


def local_workers(options: Sequence[dict[str, Any]]) -> SpecCluster:
    """Processes on this machine, which are started again when they die."""
    scheduler = {
        "cls": Scheduler,
        "options": {
            "host": _HERE,
            "dashboard": False,
            "dashboard_address": f"{_HERE}:0",
            "allowed_failures": _BLAME,
        },
    }
    workers = {place: {"cls": Nanny, "options": own} for place, own in enumerate(options)}
    return SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.CRITICAL)


def worker_options(count: int, gpus: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Of Dask workers that do one series at a time, on a GPU each where there are some."""
    options: dict[str, Any] = {
        "nthreads": 1,
        "host": _HERE,
        "dashboard_address": f"{_HERE}:0",
        # A series takes the memory that it takes, and no more the longer it is.
        "memory_limit": 0,
        "silence_logs": logging.CRITICAL,
    }
    if not gpus:
        return [options] * count
    return [
        options
        | {"resources": {"GPU": 1}, "env": {"CUDA_VISIBLE_DEVICES": gpus[place % len(gpus)]}}
        for place in range(count)
    ]


def local_gpus(device: str, backend: str) -> list[str]:
    """GPUs of this machine that are asked for, in the words of CUDA_VISIBLE_DEVICES.

    Raises:
        CTDenoiseError: one is asked for that is not there.
    """
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cuda") or backend == "openvino":
        return []
    visible: list[str] = []
    if Path("/dev/nvidiactl").exists():  # it takes seconds to ask PyTorch
        import torch

        said = os.environ.get("CUDA_VISIBLE_DEVICES")
        count = torch.cuda.device_count()
        visible = said.split(",")[:count] if said else [str(place) for place in range(count)]
    if number.isdigit():
        visible = visible[int(number) :][:1]
    if kind == "cuda" and not visible:
        raise CTDenoiseError(f"--device {device}: no such CUDA GPU here")
    return visible


def _silence_dask() -> None:
    """What has to be said, we say in a line."""
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] == "distributed":
            logging.getLogger(name).setLevel(logging.CRITICAL)


def _closing(cluster: Cluster) -> Iterator[Cluster]:
    try:
        yield cluster
    finally:
        cluster.close()


def _why(error: BaseException) -> str:
    if isinstance(error, KilledWorker):
        return "its workers died, perhaps of another series"
    # Not what it says, which may hold paths.
    return f"unexpected {type(error).__name__} in its worker"


def _resources(infos: Sequence[dict[str, Any]], device: str, address: str) -> dict[str, int] | None:
    """What a task takes of its worker: where workers have GPUs, one of these.

    Raises:
        CTDenoiseError: a GPU is asked for, and no worker says that it has one.
    """
    some = any(info["resources"].get("GPU") for info in infos)
    asked = device.startswith("cuda")
    if asked and infos and not some:
        raise CTDenoiseError(
            f"{address}: no worker has a GPU; start them with --resources GPU=1, or use "
            "--device cpu"
        )
    return {"GPU": 1} if asked or (some and device == "auto") else None
