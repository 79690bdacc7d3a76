"""Worker pool on a Ray cluster: `rdo-encode --ray`; Ray is imported here alone, and only when asked for.

The invariant: Ray carries names and settings, never images. All machines mount the same folders under the same names,
or reach the same URLs, and each worker checks that before it gets a task.
"""

import math
import socket
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from codec.checkpoint import installed_models
from codec.errors import RdoError
from codec.interface import AnyCodec
from codec.loading import own_function
from codec.places import exists
from codec.urls import is_url, public
from codec.zoo import COMPRESSAI, split_name
from jobs.pools.base import Task
from jobs.pools.cluster import connect, fitting_workers, worker_capacity
from jobs.pools.ray_metrics import Metrics
from jobs.pools.worker_pool import Answer, Died, Ready, WorkerPool
from jobs.record import Record
from jobs.running.encoding import encode, set_up
from jobs.running.failures import explain
from jobs.running.worklist import NOT_WRITTEN
from jobs.runtime import THREADS

NODES_S = 5.0  # between two looks at the machines of the cluster
IDLE_S = 60.0  # without work, until a worker is ended, so that an autoscaler can take its machine back
REMEDY = "give the path of a folder that all machines share"


@dataclass(eq=False)
class Actor:
    """Ray actor that is a worker, and the object reference of its pending answer, if any."""

    remote: Any
    pending: Any = None


class RayPool(WorkerPool[Actor]):
    """Pool of actors on a running cluster, or on a local one that is started for them.

    Args:
        model: name of the model that each worker loads.
        device: device of each worker.
        address: `host:port`, or `auto` for a cluster of this machine; None takes RAY_ADDRESS, else starts one.
        workers: most workers at a time; those that find no room wait for it, which makes an autoscaler add machines.
            None is as many as fit the cluster, more as machines come and fewer as they go.
        gpus_per_worker: GPUs of each worker, in fractions too; 0 runs workers on CPUs.
        shared: output folder, which must exist on the machine of every worker unless it is a URL.
        sources: input files, by paths or URLs, which must be readable there too.
        seconds_max: time limit for an image.
        threads: torch threads of each worker.
        batch_max: images of one size that a worker refines together.

    Raises:
        ConfigError: the address does not answer, or the cluster has too few GPUs.
    """

    def __init__(
        self,
        model: str,
        device: str = "cpu",
        address: str | None = None,
        workers: int | None = None,
        gpus_per_worker: float = 0.0,
        shared: str | None = None,
        sources: tuple[str, ...] = (),
        seconds_max: float = math.inf,
        threads: int = THREADS,
        batch_max: int = 1,
    ) -> None:
        self.started_ray = connect(address)
        capacity = workers or worker_capacity(gpus_per_worker, threads)
        super().__init__(capacity, seconds_max, batch_max, device, idle_max_s=IDLE_S)
        self.capacity = None if workers else capacity  # by which the number of workers follows the cluster
        self.next_look = time.monotonic() + NODES_S
        self.worker_arguments = absolute_model(model), device, threads
        self.gpus_per_worker, self.threads = gpus_per_worker, threads
        self.marker = ExitStack()
        if shared and not is_url(shared):  # a file whose name no other machine can have by chance
            file = tempfile.NamedTemporaryFile(prefix=".rdo-", suffix=".part", dir=shared)  # noqa: SIM115  (see close)
            sources = (self.marker.enter_context(file).name, *sources)
        self.shared_names = [absolute(name) for name in sources]

    def start(self) -> Actor:
        """Start an actor that loads the model."""
        import ray

        environment = {"env_vars": {"OMP_WAIT_POLICY": "PASSIVE"}}  # idle threads of torch sleep instead of spinning
        kind = ray.remote(
            num_cpus=1, num_gpus=self.gpus_per_worker, scheduling_strategy="SPREAD", runtime_env=environment
        )(Encoder)
        remote: Any = kind.remote()
        return Actor(remote, remote.ready.remote(*self.worker_arguments, self.shared_names))

    def send(self, handle: Actor, tasks: list[Task]) -> None:
        """Call an actor with tasks; their name is shown on Ray's dashboard."""
        more = f" and {len(tasks) - 1} more" if len(tasks) > 1 else ""
        name = f"encode {Path(tasks[0].item.input).name}{more}"
        handle.pending = handle.remote.encode.options(name=name).remote([with_absolute_paths(t) for t in tasks])

    def receive(self, timeout: float | None) -> list[tuple[Actor, Answer]]:
        """Return finished answers of actors; none after `timeout` or NODES_S seconds, for a look at the cluster."""
        import ray

        self._follow_cluster()
        handles = {worker.handle.pending: worker.handle for worker in self.workers if worker.handle.pending}
        finished, _ = ray.wait(list(handles), timeout=NODES_S if timeout is None else min(timeout, NODES_S))
        answers = []
        for reference in finished:
            handles[reference].pending = None
            try:
                answer = ray.get(reference)
            except ray.exceptions.RayError as error:
                answer = Died(death_reason(error))
            answers.append((handles[reference], answer))
        return answers

    def _follow_cluster(self) -> None:
        """Take more workers where machines have come, fewer where some have gone, unless their number was asked for."""
        if self.capacity is None or time.monotonic() < self.next_look:
            return
        self.next_look = time.monotonic() + NODES_S
        capacity = max(1, fitting_workers(self.gpus_per_worker, self.threads))
        # by the difference, so that workers that cannot start are not tried for ever
        self.workers_max, self.capacity = max(1, self.workers_max + capacity - self.capacity), capacity

    def kill(self, handle: Actor) -> None:
        """Kill an actor."""
        import ray

        ray.kill(handle.remote)

    def close(self) -> None:
        """Kill all workers, drop all tasks and leave the cluster, or end it if it was started here."""
        import ray

        super().close()
        self.marker.close()
        if self.started_ray:
            ray.shutdown()
            self.started_ray = False


class Encoder:
    """Class of the Ray actors: a worker with one loaded model, and Ray's metrics of what it encoded."""

    codec: AnyCodec
    metrics: Metrics

    def ready(self, model: str, device: str, threads: int, shared_names: list[str]) -> Answer:
        """Check that the shared files exist on this machine, then load the model."""
        try:
            missing = [name for name in shared_names if not exists(name)]
        except RdoError as error:  # no credentials, or no file system installed
            return Died(f"on {socket.gethostname()}: {error}", permanent=True)
        if missing:
            folder = public(missing[0]) if is_url(missing[0]) else Path(missing[0]).parent
            return Died(f"{folder}: not the same folder on {socket.gethostname()} as here: {REMEDY}", permanent=True)
        try:
            self.codec, self.metrics = set_up(model, device, threads), Metrics()
        except Exception as error:  # of any kind: a replacement would fail alike
            return Died(explain(error), permanent=True)
        return Ready()

    def encode(self, tasks: list[Task]) -> list[Record]:
        """Encode tasks of one config, and count them."""
        records = encode([task.item for task in tasks], self.codec, tasks[0].config, lambda step: None)
        self.metrics.count(records)
        return records


def absolute_model(model: str) -> str:
    """Return a model's name with the path of its file, if it has one, made absolute."""
    if model in installed_models() or own_function(model):
        return model
    file = model
    if model.startswith(COMPRESSAI):
        file = split_name(model.removeprefix(COMPRESSAI))[2]
    return model.removesuffix(file) + str(Path(file).absolute()) if file else model


def absolute(name: str) -> str:
    """Return a path made absolute, and a URL as it is."""
    return name if is_url(name) else str(Path(name).absolute())


def with_absolute_paths(task: Task) -> Task:
    """Return a task with absolute paths, as workers have other working directories."""
    item, config = task.item, task.config
    output = item.output if item.output == NOT_WRITTEN else absolute(item.output)
    item = replace(item, input=absolute(item.input), output=output)
    return task._replace(item=item, config=replace(config, roi=config.roi and config.roi.absolute()))


def death_reason(error: Exception) -> str:
    """Return Ray's description of an actor's death, many lines long, as one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reasons = [line for line in lines if not line.startswith(("class_name", "actor_id", "pid", "namespace", "ip"))]
    return " ".join(reasons)[:200] or type(error).__name__
