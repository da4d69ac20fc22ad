"""A cohort on Slurm: jobs come and go with the work, through dask-jobqueue.

    python -m pipelines.cohort_slurm --jobs 16 --cpus 8 --gpu --partition gpu --walltime 08:00:00 \\
        -- --input cohort.csv --output /scratch/denoised --device cuda

Run it on a node that Slurm's nodes can reach and that may run for as long as the cohort takes; all
of them must see the same paths and have ctdenoise in the same place. Each job is one worker. What
is behind ``--`` goes to ``ctdenoise cohort``. With ``--script`` it only prints the job that it
would submit. It was not run on a Slurm of ours, for there is none: try it with ``--jobs 1`` first.

Who reaches a Dask scheduler can run code as its user. So it speaks TLS, with a certificate that is
made for this command and nobody else has; the jobs read it, and its key, from ``--logs``, in a
folder that is the user's alone and goes at the end.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import dask
from dask_jobqueue import SLURMCluster
from distributed.security import Security

from ctdenoise.cli import main as ctdenoise


@contextmanager
def slurm_cluster(options: argparse.Namespace) -> Iterator[SLURMCluster]:
    """Jobs of one worker each, that does one series at a time; none is submitted yet.

    Within the block, clients of this process have its certificate.
    """
    logs = Path(options.logs).resolve()
    logs.mkdir(parents=True, exist_ok=True)
    with certificate(logs) as security, _cluster(options, logs, security) as cluster:
        yield cluster


@contextmanager
def certificate(folder: Path) -> Iterator[Security]:
    """A new certificate for scheduler, jobs and client, in files that are there for the block."""
    made = Security.temporary().get_tls_config_for_role("scheduler")
    with TemporaryDirectory(prefix=".tls-", dir=folder) as private:  # of mode 0700
        cert, key = Path(private, "cert.pem"), Path(private, "key.pem")
        cert.write_text(made["cert"], encoding="ascii")
        key.write_text(made["key"], encoding="ascii")
        ours = {"cert": str(cert), "key": str(key)}
        tls = {"ca-file": str(cert), "scheduler": ours, "worker": ours, "client": ours}
        with dask.config.set({f"distributed.comm.tls.{name}": of for name, of in tls.items()}):
            yield Security(require_encryption=True)


def _cluster(options: argparse.Namespace, logs: Path, security: Security) -> SLURMCluster:
    directives = list(options.sbatch)
    extra = ["--no-dashboard"]
    if options.gpu:
        directives.append("--gres=gpu:1")
        extra += ["--resources", "GPU=1"]
    return SLURMCluster(
        queue=options.partition,
        account=options.account,
        # One thread of Dask, so that a worker gets one series; the network has all CPUs of the job.
        cores=1,
        processes=1,
        job_cpu=options.cpus,
        memory=options.memory,
        walltime=options.walltime,
        job_extra_directives=directives,
        worker_extra_args=extra,
        log_directory=str(logs),
        security=security,
        scheduler_options={"dashboard": False, "dashboard_address": ":0"},
    )


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--jobs", type=int, default=4, metavar="N", help="at most so many at once")
    add("--cpus", type=int, default=8, metavar="N", help="of a job")
    add("--memory", default="16GB", help="of a job")
    add("--walltime", default="08:00:00", help="of a job; many times what a series takes")
    add("--partition", metavar="NAME")
    add("--account", metavar="NAME")
    add("--gpu", action="store_true", help="a GPU for each job")
    add("--sbatch", action="append", default=[], metavar="OPTION", help="more for sbatch")
    add("--logs", default="slurm-logs", metavar="DIR", help="of the jobs")
    add("--script", action="store_true", help="print the job, and do nothing")
    add("cohort", nargs="*", metavar="-- OPTIONS", help="of ctdenoise cohort")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cohort; returns its exit code."""
    options = parsed(arguments)
    with slurm_cluster(options) as cluster:
        if options.script:
            print(cluster.job_script())
            return 0
        print(f"scheduler at {cluster.scheduler_address}", file=sys.stderr)
        cluster.adapt(minimum_jobs=0, maximum_jobs=options.jobs)
        more = ["--scheduler", cluster.scheduler_address, "--workers", str(options.jobs)]
        return ctdenoise(["cohort", *options.cohort, *more])


if __name__ == "__main__":
    sys.exit(main())
