"""Worker processes on this machine, each with a model of its own: `rdo-encode -j N`.

What they do is in `jobs.pools.child`.
"""

import math
import signal
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import NamedTuple

from jobs import cli
from jobs.pools import child
from jobs.pools.base import Answer, Crew, Lost, Task

GRACE_S = 2.0  # for a worker that was asked to end, to remove its temporary file


class Process(NamedTuple):
    """A worker process and the pipe to it."""

    process: SpawnProcess
    pipe: "Connection[list[Task], Answer]"


class Processes(Crew[Process]):
    """Up to `jobs` processes."""

    def __init__(
        self,
        model: str,
        device: str,
        jobs: int,
        seconds_max: float = math.inf,
        threads: int = cli.THREADS,
        batch: int = 1,
    ) -> None:
        super().__init__(jobs, seconds_max, batch, device)
        self.equipment = model, device, threads

    def start(self) -> Process:
        """See `Crew`."""
        context = get_context("spawn")  # a fork would inherit torch's threads in no usable state
        ours, theirs = context.Pipe()
        process = context.Process(target=child.work, args=(theirs, *self.equipment), daemon=True)
        with cli.interrupts_kept_from_children():
            process.start()
        theirs.close()  # so that a worker's death ends the pipe
        return Process(process, ours)

    def give(self, handle: Process, tasks: list[Task]) -> None:
        """See `Crew`."""
        with suppress(OSError):  # dead already: the end of its pipe will tell
            handle.pipe.send(tasks)

    def listen(self, timeout: float | None) -> list[tuple[Process, Answer]]:
        """See `Crew`."""
        handles = {worker.handle.pipe: worker.handle for worker in self.workers}
        ready = connection.wait(list(handles), timeout)
        return [(handle, answer) for pipe, handle in handles.items() if pipe in ready for answer in _all_from(handle)]

    def kill(self, handle: Process) -> None:
        """See `Crew`."""
        handle.process.terminate()
        handle.process.join(GRACE_S)
        handle.process.kill()
        handle.process.join()
        handle.process.close()
        handle.pipe.close()

    def close(self) -> None:
        """See `Pool`."""
        for worker in self.workers:
            worker.handle.process.terminate()  # all at once, so that they share the grace
        super().close()


def _all_from(handle: Process) -> Iterator[Answer]:
    """All that a worker has said by now: whether it is over time can be told only then."""
    while True:
        answer = _receive(handle)
        yield answer
        if isinstance(answer, Lost) or not handle.pipe.poll():
            return


def _receive(handle: Process) -> Answer:
    try:
        return handle.pipe.recv()
    except (EOFError, OSError):
        handle.process.join(GRACE_S)
        return Lost(_manner(handle.process.exitcode or 0))


def _manner(code: int) -> str:
    """How a process ended, for people."""
    if code >= 0:
        return f"exit status {code}"
    name = signal.Signals(-code).name
    return f"{name}, as when memory runs out" if -code == signal.SIGKILL else name
