"""Ray clusters: joining one, or starting one on this machine, and the number of workers that it holds."""

import logging
import os
import signal
import socket
import tempfile
from pathlib import Path

from codec.errors import ConfigError, first_line
from jobs.runtime import interrupts_kept_from_children

CONNECT_S = 5.0  # time limit for the machine behind an address to answer


def connect(address: str | None) -> bool:
    """Join or start a cluster; return whether this call did, in which case `RayPool.close` leaves or ends it.

    Raises:
        ConfigError: Ray is not installed, or the address does not answer.
    """
    try:
        import ray
    except ImportError:
        raise ConfigError('--ray: Ray is not installed: pip install ".[cluster]"') from None

    if ray.is_initialized():
        return False
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    check_reachable(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # our commands send no usage statistics
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with interrupts_kept_from_children():  # Ctrl-C must end the driver first, which waits for a dead cluster
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        text = f"--address {address}: cannot be joined: {first_line(error)}"
        raise ConfigError(f"{text}: start a cluster with `ray start --head`") from error
    finally:
        signal.signal(signal.SIGTERM, handler)  # Ray installs its own
    return True


def check_reachable(address: str) -> None:
    """Check that an address accepts connections: Ray itself would wait minutes for a dead one.

    Raises:
        ConfigError: `address` is malformed or does not answer within CONNECT_S.
    """
    address_file = Path(tempfile.gettempdir()) / "ray" / "ray_current_cluster"  # read by Ray for `auto`
    found = (
        address_file.read_text(encoding="utf-8").strip() if address == "auto" and address_file.is_file() else address
    )
    if found in ("auto", "local"):
        return
    host, _, port = found.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise ConfigError(f"--address {address}: nobody answers ({error}): write HOST:PORT of a head node") from error


def worker_capacity(gpus_per_worker: float, threads: int) -> int:
    """Return how many workers fit the cluster: by its GPUs if each takes a fraction of one, else by its CPU threads.

    Raises:
        ConfigError: its GPUs do not suffice for one worker.
    """
    workers = fitting_workers(gpus_per_worker, threads)
    if not workers and gpus_per_worker:
        text = f"--gpus-per-worker {gpus_per_worker:g}: the cluster has {_resource('GPU'):g} GPUs"
        raise ConfigError(f"{text}: name --workers too, if machines with GPUs are still to come")
    return max(1, workers)


def fitting_workers(gpus_per_worker: float, threads: int) -> int:
    """Return how many workers fit the machines that the cluster has at present, 0 included."""
    return int(_resource("GPU") / gpus_per_worker) if gpus_per_worker else int(_resource("CPU")) // threads


def _resource(name: str) -> float:
    """Return the amount of a resource that all machines of the cluster have together."""
    import ray

    return float(ray.cluster_resources().get(name, 0.0))  # type: ignore[no-untyped-call]
