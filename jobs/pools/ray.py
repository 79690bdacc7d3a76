"""Workers on a Ray cluster: `rdo-encode --ray`. The only file that knows Ray, and it imports it when asked for.

Paths and settings go through Ray, never pictures: all machines must see the same folders under the same names, which
every worker proves before it is given work.
"""

import logging
import math
import os
import signal
import socket
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from codec.checkpoint import installed_models
from codec.errors import ConfigError, first_line
from codec.interface import AnyCodec
from codec.loading import own_function
from codec.zoo import COMPRESSAI
from jobs.cli import THREADS, interrupts_kept_from_children
from jobs.pools.base import Answer, Crew, Lost, Ready, Task
from jobs.record import Record
from jobs.running.encoding import encode, explain, set_up
from jobs.running.worklist import NOWHERE

ANSWER_S = 5.0  # for the machine behind an address
MEND = "give the path of a folder that all machines share"


@dataclass(eq=False)
class Actor:
    """A worker somewhere, and the answer that is due from it."""

    remote: Any
    due: Any = None


class RayPool(Crew[Actor]):
    """Actors on a cluster that is running, or on one of this machine alone that is started for them.

    Args:
        address: `host:port`, or `auto` for one that runs on this machine; None takes RAY_ADDRESS, else starts one.
        workers: how many; None as many as the cluster has room for.
        gpus_per_worker: share of a GPU for each.
        shared: an output folder that all workers must see.
        sources: files that all workers must see.

    Raises:
        ConfigError: nobody answers, or the cluster has no such GPUs.
    """

    def __init__(
        self,
        model: str,
        device: str = "cpu",
        address: str | None = None,
        workers: int | None = None,
        gpus_per_worker: float = 0.0,
        shared: Path | None = None,
        sources: tuple[Path, ...] = (),
        seconds_max: float = math.inf,
        threads: int = THREADS,
        batch: int = 1,
    ) -> None:
        self.ours = connect(address)
        most = room(gpus_per_worker, threads)
        super().__init__(workers or most, seconds_max, batch, device)
        self.equipment = absolute(model), device, threads
        self.gpus = gpus_per_worker
        self.token = ExitStack()
        if shared:  # a name that no other machine can have by chance
            mark = tempfile.NamedTemporaryFile(prefix=".rdo-", suffix=".part", dir=shared)  # noqa: SIM115  (closed later)
            sources = (Path(self.token.enter_context(mark).name), *sources)
        self.must_see = [str(path.absolute()) for path in sources]

    def start(self) -> Actor:
        """See `Crew`."""
        import ray

        quiet_waits = {"env_vars": {"OMP_WAIT_POLICY": "PASSIVE"}}
        kind = ray.remote(num_cpus=1, num_gpus=self.gpus, scheduling_strategy="SPREAD", runtime_env=quiet_waits)(
            Encoder
        )
        remote: Any = kind.remote()
        return Actor(remote, remote.ready.remote(*self.equipment, self.must_see))

    def give(self, handle: Actor, tasks: list[Task]) -> None:
        """See `Crew`."""
        more = f" and {len(tasks) - 1} more" if len(tasks) > 1 else ""
        name = f"encode {Path(tasks[0].item.input).name}{more}"  # what the dashboard shows
        handle.due = handle.remote.encode.options(name=name).remote([everywhere(task) for task in tasks])

    def listen(self, timeout: float | None) -> list[tuple[Actor, Answer]]:
        """See `Crew`."""
        import ray

        handles = {worker.handle.due: worker.handle for worker in self.workers if worker.handle.due}
        ready, _ = ray.wait(list(handles), timeout=timeout)
        answers = []
        for due in ready:
            handles[due].due = None
            try:
                answer = ray.get(due)
            except ray.exceptions.RayError as error:
                answer = Lost(explain_loss(error))
            answers.append((handles[due], answer))
        return answers

    def kill(self, handle: Actor) -> None:
        """See `Crew`."""
        import ray

        ray.kill(handle.remote)

    def close(self) -> None:
        """See `Pool`."""
        import ray

        super().close()
        self.token.close()
        if self.ours:
            ray.shutdown()
            self.ours = False


class Encoder:
    """What runs in an actor: one model."""

    codec: AnyCodec

    def ready(self, model: str, device: str, threads: int, must_see: list[str]) -> Answer:
        """Load the model, and look for what must be seen from here."""
        unseen = [path for path in must_see if not Path(path).exists()]
        if unseen:
            where = Path(unseen[0]).parent
            return Lost(f"{where}: not the same folder on {socket.gethostname()} as here: {MEND}", hopeless=True)
        try:
            self.codec = set_up(model, device, threads)
        except Exception as error:  # whatever it is, the next worker would meet it too
            return Lost(explain(error), hopeless=True)
        return Ready()

    def encode(self, tasks: list[Task]) -> list[Record]:
        """See `jobs.running.encoding.encode`."""
        return encode([task.item for task in tasks], self.codec, tasks[0].config, lambda step: None)


def connect(address: str | None) -> bool:
    """Join or start a cluster; whether that was done here, and is to be undone.

    Raises:
        ConfigError: Ray is not installed, or nobody answers.
    """
    try:
        import ray
    except ImportError:
        raise ConfigError('--ray: Ray is not installed: pip install ".[cluster]"') from None

    if ray.is_initialized():
        return False
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    check_answers(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no command of ours tells anyone of its use
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with interrupts_kept_from_children():  # a cluster that dies first leaves its driver waiting for it
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        text = f"--address {address}: cannot be joined: {first_line(error)}"
        raise ConfigError(f"{text}: start a cluster with `ray start --head`") from error
    finally:
        signal.signal(signal.SIGTERM, handler)  # Ray puts one of its own in place
    return True


def check_answers(address: str) -> None:
    """Ray waits minutes for an address that is nobody's, as a killed cluster's; here it is asked first.

    Raises:
        ConfigError: it is no address, or nobody answers.
    """
    note = Path(tempfile.gettempdir()) / "ray" / "ray_current_cluster"  # where Ray looks for `auto`
    found = note.read_text(encoding="utf-8").strip() if address == "auto" and note.is_file() else address
    if found in ("auto", "local"):
        return
    host, _, port = found.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), ANSWER_S).close()
    except (OSError, ValueError) as error:
        raise ConfigError(f"--address {address}: nobody answers ({error}): write HOST:PORT of a head node") from error


def room(gpus_per_worker: float, threads: int) -> int:
    """How many workers the cluster can hold.

    Raises:
        ConfigError: none.
    """
    import ray

    have = ray.cluster_resources()  # type: ignore[no-untyped-call]
    if not gpus_per_worker:
        return max(1, int(have.get("CPU", 0)) // threads)
    workers = int(have.get("GPU", 0) / gpus_per_worker)
    if not workers:
        raise ConfigError(f"--gpus-per-worker {gpus_per_worker:g}: the cluster has {have.get('GPU', 0):g} GPUs")
    return workers


def absolute(model: str) -> str:
    """A model's name that means the same in every folder."""
    if model in installed_models() or own_function(model):
        return model
    file = model
    if model.startswith(COMPRESSAI):
        from codec.zoo.loading import parse

        file = parse(model.removeprefix(COMPRESSAI))[1]
    return model.removesuffix(file) + str(Path(file).absolute()) if file else model


def everywhere(task: Task) -> Task:
    """The same task with paths that hold whatever the working directory."""
    item, config = task.item, task.config
    output = item.output if item.output == NOWHERE else str(Path(item.output).absolute())
    item = replace(item, input=str(Path(item.input).absolute()), output=output)
    return task._replace(item=item, config=replace(config, roi=config.roi and config.roi.absolute()))


def explain_loss(error: Exception) -> str:
    """Ray's account of a death, which goes on for pages, in a line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("class_name", "actor_id", "pid", "namespace", "ip"))]
    return " ".join(told)[:200] or type(error).__name__
