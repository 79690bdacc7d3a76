"""Worker processes on this machine, each with its own copy of the model: `rdo-encode -j N`."""

import math
import signal
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import NamedTuple

from jobs.pools.base import Task
from jobs.pools.worker import serve
from jobs.pools.worker_pool import Answer, Died, WorkerPool
from jobs.runtime import THREADS, interrupts_kept_from_children

GRACE_S = 2.0  # for a terminated worker to remove its temporary files, before it is killed


class Process(NamedTuple):
    """Worker process and the parent's end of the pipe to it."""

    process: SpawnProcess
    pipe: "Connection[list[Task], Answer]"


class ProcessPool(WorkerPool[Process]):
    """Pool of up to `jobs` worker processes.

    Args:
        model: name of the model that each worker loads.
        device: device of each worker.
        jobs: most workers at a time.
        seconds_max: time limit for an image.
        threads: torch threads of each worker.
        batch_max: images of one size that a worker refines together.
    """

    def __init__(
        self,
        model: str,
        device: str,
        jobs: int,
        seconds_max: float = math.inf,
        threads: int = THREADS,
        batch_max: int = 1,
    ) -> None:
        super().__init__(jobs, seconds_max, batch_max, device)
        self.worker_arguments = model, device, threads

    def start(self) -> Process:
        """Spawn a worker process."""
        context = get_context("spawn")  # a fork would inherit torch's threads in an unusable state
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, *self.worker_arguments), daemon=True)
        with interrupts_kept_from_children():
            process.start()
        theirs.close()  # so that the death of the worker closes the pipe
        return Process(process, ours)

    def send(self, handle: Process, tasks: list[Task]) -> None:
        """Send tasks through the pipe of a worker."""
        with suppress(OSError):  # a dead worker: `receive` will find the pipe closed
            handle.pipe.send(tasks)

    def receive(self, timeout: float | None) -> list[tuple[Process, Answer]]:
        """Return all answers in the pipes, at least one unless `timeout` seconds pass."""
        handles = {worker.handle.pipe: worker.handle for worker in self.workers}
        readable = connection.wait(list(handles), timeout)
        return [(handle, answer) for pipe, handle in handles.items() if pipe in readable for answer in _drain(handle)]

    def kill(self, handle: Process) -> None:
        """Terminate a worker process, and kill it after GRACE_S."""
        handle.process.terminate()
        handle.process.join(GRACE_S)
        handle.process.kill()
        handle.process.join()
        handle.process.close()
        handle.pipe.close()

    def close(self) -> None:
        """Kill all workers and drop all tasks."""
        for worker in self.workers:
            worker.handle.process.terminate()  # all at once, so that GRACE_S passes once for all
        super().close()


def _drain(handle: Process) -> Iterator[Answer]:
    """Yield all answers in the pipe of a worker, so that no time limit is checked while its records lie unread."""
    while True:
        answer = _receive_one(handle)
        yield answer
        if isinstance(answer, Died) or not handle.pipe.poll():
            return


def _receive_one(handle: Process) -> Answer:
    try:
        return handle.pipe.recv()
    except (EOFError, OSError):
        handle.process.join(GRACE_S)
        return Died(_exit_reason(handle.process.exitcode or 0))


def _exit_reason(code: int) -> str:
    """Describe the exit code of a process; negative ones are signals."""
    if code >= 0:
        return f"exit status {code}"
    name = signal.Signals(-code).name
    return f"{name}, as when memory runs out" if -code == signal.SIGKILL else name
