"""Selection of a pool by command-line flags: this process, worker processes, or a Ray cluster."""

import argparse
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs import cli
from jobs.runtime import THREADS

if TYPE_CHECKING:
    from codec.interface import AnyCodec
    from jobs.pools.base import Pool


@dataclass(frozen=True)
class PoolSettings:
    """Model, device and number of workers that encode; the fields are named as the flags of `add_pool_flags`.

    Attributes:
        jobs: worker processes on this machine; 1 encodes in this process.
        batch: images of one size that a worker refines together.
        threads: torch threads of each worker.
        max_seconds_per_image: time limit for an image; None is no limit.
        ray: whether workers are on a Ray cluster.
        address: `host:port` of its head node, or `auto`; None starts a local cluster.
        workers: most workers of the cluster; None is as many as fit.
        gpus_per_worker: GPUs of each worker of the cluster, in fractions too; None is none.

    Raises:
        ConfigError: a value is not positive, or two do not go together.
    """

    model: str = cli.MODEL
    device: str = "cpu"
    jobs: int = 1
    batch: int = 1
    threads: int = THREADS
    max_seconds_per_image: float | None = None
    ray: bool = False
    address: str | None = None
    workers: int | None = None
    gpus_per_worker: float | None = None

    def __post_init__(self) -> None:
        from codec.errors import ConfigError

        for name in ("jobs", "batch", "threads", "max_seconds_per_image", "workers", "gpus_per_worker"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"--{name.replace('_', '-')} {value:g}: must be positive")
        cluster = [name for name in ("address", "workers", "gpus_per_worker") if getattr(self, name) is not None]
        if cluster and not self.ray:
            raise ConfigError(f"--{cluster[0].replace('_', '-')}: of a Ray cluster: add --ray")
        if self.ray and self.jobs > 1:
            raise ConfigError("--jobs and --ray: the number of a cluster's workers is --workers")

    @property
    def in_workers(self) -> bool:
        """Use of other processes: asked for, or needed by a time limit, as only a process can be stopped."""
        return self.ray or self.jobs > 1 or self.max_seconds_per_image is not None

    @property
    def worker_device(self) -> str:
        """Device of the processes that encode: cuda if workers have GPUs and `device` is cpu, else `device`."""
        return "cuda" if self.gpus_per_worker and self.device == "cpu" else self.device


def add_pool_flags(flags: argparse.ArgumentParser) -> None:
    """Add the flags of every command that encodes many pictures, the fields of `PoolSettings`."""
    local = flags.add_argument_group("workers")
    local.add_argument("-j", "--jobs", type=int, default=1, metavar="N", help="pictures at a time, a process for each")
    local.add_argument(
        "--batch", type=int, default=1, metavar="N",
        help="pictures of one shape that a worker refines together: for GPUs, and for small pictures; files depend on "
        "it a little",
    )  # fmt: skip
    local.add_argument(
        "--threads", type=int, default=THREADS, help="torch threads of each worker; files depend on it a little"
    )
    local.add_argument(
        "--max-seconds-per-image", type=float, metavar="S", help="give up on a picture that takes longer"
    )
    cluster = flags.add_argument_group('workers on a Ray cluster (needs pip install ".[cluster]")')
    cluster.add_argument("--ray", action="store_true", help="encode on a cluster")
    cluster.add_argument("--address", help="HOST:PORT of its head node, auto for this machine's (default: start one)")
    cluster.add_argument(
        "--workers", type=int, metavar="N", help="pictures at a time (default: what the cluster holds)"
    )
    cluster.add_argument(
        "--gpus-per-worker", type=float, metavar="F", help="GPUs of each worker, as 0.25 (default: none)"
    )


def load_driver_codec(settings: PoolSettings) -> "AnyCodec":
    """Load the codec of the process that distributes the work, on the CPU where workers encode.

    Raises:
        RdoError: no such model or device.
    """
    from jobs.running.encoding import set_up

    return set_up(settings.model, "cpu" if settings.in_workers else settings.device, settings.threads)


def make_pool(
    settings: PoolSettings,
    codec: "AnyCodec",
    tasks: int,
    shared: str | None = None,
    sources: tuple[str, ...] = (),
) -> "Pool":
    """Create the pool that the settings ask for, to be closed after use.

    Args:
        codec: codec of `load_driver_codec`, which encodes where no workers do.
        tasks: number of tasks to come, and so the most worker processes to start.
        shared: output folder, which must exist on the machine of every worker unless it is a URL.
        sources: some input files, by paths or URLs, which must be readable there too.

    Raises:
        ConfigError: the cluster cannot be joined.
    """
    if not settings.in_workers:
        from jobs.pools.in_process import InProcess

        return InProcess(codec, settings.batch)
    seconds_max = settings.max_seconds_per_image or math.inf
    if not settings.ray:
        from jobs.pools.process import ProcessPool

        return ProcessPool(
            settings.model,
            settings.device,
            min(settings.jobs, tasks),
            seconds_max=seconds_max,
            threads=settings.threads,
            batch_max=settings.batch,
        )
    from jobs.pools.ray import RayPool

    return RayPool(
        settings.model,
        settings.worker_device,
        address=settings.address,
        workers=settings.workers,
        gpus_per_worker=settings.gpus_per_worker or 0.0,
        shared=shared,
        sources=sources,
        seconds_max=seconds_max,
        threads=settings.threads,
        batch_max=settings.batch,
    )
