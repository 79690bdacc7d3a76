"""Which pool a command's flags ask for: this process, others beside it, or a Ray cluster."""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from jobs import cli

if TYPE_CHECKING:
    from codec.interface import AnyCodec
    from jobs.pools.base import Pool


def add_pool_flags(flags: argparse.ArgumentParser) -> None:
    """Flags of every command that encodes many pictures."""
    here = flags.add_argument_group("workers")
    here.add_argument("-j", "--jobs", type=int, default=1, metavar="N", help="pictures at a time, a process for each")
    here.add_argument(
        "--batch", type=int, default=1, metavar="N",
        help="pictures of one shape that a worker refines together: for GPUs, and for small pictures; files depend on "
        "it a little",
    )  # fmt: skip
    here.add_argument("--threads", type=int, default=cli.THREADS, help="of each worker; files depend on it a little")
    here.add_argument("--max-seconds-per-image", type=float, metavar="S", help="stop what takes longer, and record it")
    far = flags.add_argument_group('workers on a Ray cluster (needs pip install ".[cluster]")')
    far.add_argument("--ray", action="store_true", help="encode there")
    far.add_argument("--address", help="HOST:PORT of its head, auto for this machine's (default: start one)")
    far.add_argument("--workers", type=int, metavar="N", help="pictures at a time (default: what the cluster holds)")
    far.add_argument("--gpus-per-worker", type=float, metavar="F", help="share of a GPU for each (default: none)")


def load_driver_codec(arguments: argparse.Namespace) -> "AnyCodec":
    """The codec of the process that gives out the work; it needs no device where others do it.

    Raises:
        RdoError: flags that do not go together, no such model or device.
    """
    from jobs.running.encoding import set_up

    _check(arguments)
    device = "cpu" if elsewhere(arguments) else arguments.device
    return set_up(arguments.model, device, arguments.threads)


def hire(
    arguments: argparse.Namespace,
    codec: "AnyCodec",
    tasks: int,
    shared: Path | None = None,
    sources: tuple[Path, ...] = (),
) -> "Pool":
    """The pool asked for, to be closed after use.

    Args:
        codec: as of `load_driver_codec`.
        tasks: at most so many workers are of use.
        shared: the output folder, if there is one.
        sources: some files that workers will read.

    Raises:
        ConfigError: the cluster cannot be reached.
    """
    if not elsewhere(arguments):
        from jobs.running.run import InProcess

        return InProcess(codec, arguments.batch)
    seconds_max = arguments.max_seconds_per_image or math.inf
    if not arguments.ray:
        from jobs.pools.process import Processes

        jobs = min(arguments.jobs, tasks)
        return Processes(arguments.model, arguments.device, jobs, seconds_max, arguments.threads, arguments.batch)
    from jobs.pools.ray import RayPool

    return RayPool(
        arguments.model,
        worker_device(arguments),
        arguments.address,
        arguments.workers,
        arguments.gpus_per_worker or 0.0,
        shared,
        sources,
        seconds_max,
        arguments.threads,
        arguments.batch,
    )


def worker_device(arguments: argparse.Namespace) -> str:
    """Of whoever encodes: with a share of a GPU it is that, unless another was named."""
    gpu = arguments.gpus_per_worker and arguments.device == "cpu"
    return "cuda" if gpu else str(arguments.device)


def elsewhere(arguments: argparse.Namespace) -> bool:
    """A picture that takes too long can be stopped only in another process."""
    return arguments.ray or arguments.jobs > 1 or arguments.max_seconds_per_image is not None


def _check(arguments: argparse.Namespace) -> None:
    from codec.errors import ConfigError

    for name in ("jobs", "batch", "threads", "max_seconds_per_image", "workers", "gpus_per_worker"):
        value = getattr(arguments, name)
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"--{name.replace('_', '-')} {value:g}: must be positive")
    far = [name for name in ("address", "workers", "gpus_per_worker") if getattr(arguments, name) is not None]
    if far and not arguments.ray:
        raise ConfigError(f"--{far[0].replace('_', '-')}: of a Ray cluster: add --ray")
    if arguments.ray and arguments.jobs > 1:
        raise ConfigError("--jobs and --ray: the number of a cluster's workers is --workers")
