"""The plugin of Dask's workers: a model loaded once, and the tasks that use it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import warnings
from threading import Lock

from distributed import Worker, WorkerPlugin, get_worker

from ctdenoise import __version__
from ctdenoise.allocator import keep_freed_memory
from ctdenoise.cohort.job import Job, Outcome, Task
from ctdenoise.errors import CTDenoiseError, one_line

_SETTLING_SECONDS = 1.0


class ModelPlugin(WorkerPlugin):
    """Loads the model of a job when a worker starts; one series at a time uses it.

    A worker that cannot load it stays, and says in ``unfit`` why.

    Args:
        job: for which it is loaded.
        own: the worker is a process of the command, which ends it.
    """

    def __init__(self, job: Job, *, own: bool) -> None:
        self.job = job
        self.own = own
        self.unfit: str | None = None

    async def setup(self, worker: Worker) -> None:
        """Load the model."""
        if self.own:  # a terminal interrupts all its processes
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._alone = Lock()
        # In the thread of the tasks: PyTorch's number of threads is that of a thread.
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(worker.executor, self._load, worker.state.nthreads)
        except CTDenoiseError as error:
            self.unfit = str(error)
        except Exception as error:
            self.unfit = f"unexpected {one_line(error)}"
        # The nanny of a worker that dies before it knows that it has started gives it up.
        starts = not worker.periodic_callbacks["heartbeat"].is_running()
        self._settled = time.monotonic() + (_SETTLING_SECONDS if starts else 0.0)

    def __call__(self, task: Task) -> Outcome:
        """Do a task."""
        if self.unfit is not None:
            return Outcome(unfit=self.unfit)
        with self._alone:
            time.sleep(max(0.0, self._settled - time.monotonic()))
            return self._work(task)

    def _load(self, given: int) -> None:
        from ctdenoise.cohort.work import Work
        from ctdenoise.denoiser import Denoiser
        from ctdenoise.models.registry import load

        job = self.job
        if job.version != __version__:
            raise CTDenoiseError(f"has ctdenoise {__version__}, not {job.version}")
        warnings.filterwarnings("ignore")
        keep_freed_memory()
        model = load(job.model, clip_weights=job.clip_weights, decoder=job.decoder)
        if model.digest != job.digest:
            raise CTDenoiseError(f"has other weights for {job.model}")
        denoiser = Denoiser(
            model,
            device=job.device,
            precision=job.precision,
            batch_size=job.batch_size,
            backend=job.backend,
            threads=job.threads or int(os.environ.get("SLURM_CPUS_PER_TASK") or given),
        )
        self._work = Work(job, denoiser)


def unfit(name: str, dask_worker: Worker) -> str | None:
    """Why a worker cannot do tasks with the plugin of that name; None if it can."""
    return _plugin(dask_worker, name).unfit


def work(name: str, task: Task) -> tuple[str, Outcome]:
    """Do a task with the plugin of that name; gives the address of the worker as well."""
    worker = get_worker()
    return worker.address, _plugin(worker, name)(task)


def _plugin(worker: Worker, name: str) -> ModelPlugin:
    plugin = worker.plugins[name]
    assert isinstance(plugin, ModelPlugin)
    return plugin
