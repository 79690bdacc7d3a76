"""Worker processes on this machine, each with a model of its own: `rdo-encode -j N`.

They end with the process that started them, however it ends: a worker that outlived it could write over what a later
run has made.
"""

import math
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import NamedTuple

from jobs.pool import Answer, Crew, Lost, Ready, Step, Task
from jobs.worker import THREADS, encode_one, explain, set_up

GRACE_S = 2.0  # for a worker that was asked to end, to remove its temporary file


class Process(NamedTuple):
    """A worker process and the pipe to it."""

    process: SpawnProcess
    pipe: "Connection[Task, Answer]"


class Processes(Crew[Process]):
    """Up to `jobs` processes."""

    def __init__(
        self, model: str, device: str, jobs: int, seconds_max: float = math.inf, threads: int = THREADS
    ) -> None:
        super().__init__(jobs, seconds_max)
        self.equipment = model, device, threads

    def start(self) -> Process:
        """See `Crew`."""
        context = get_context("spawn")  # a fork would inherit torch's threads in no usable state
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, *self.equipment), daemon=True)
        with _interrupts_kept_from_children():
            process.start()
        theirs.close()  # so that a worker's death ends the pipe
        return Process(process, ours)

    def give(self, handle: Process, task: Task) -> None:
        """See `Crew`."""
        with suppress(OSError):  # dead already: the end of its pipe will tell
            handle.pipe.send(task)

    def listen(self, timeout: float | None) -> list[tuple[Process, Answer]]:
        """See `Crew`."""
        handles = {worker.handle.pipe: worker.handle for worker in self.workers}
        ready = connection.wait(list(handles), timeout)
        return [(handle, _receive(handle)) for pipe, handle in handles.items() if pipe in ready]

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


@contextmanager
def _interrupts_kept_from_children() -> Iterator[None]:
    """Ctrl-C goes to all processes of a terminal; children born in here leave it to their parent."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe: "Connection[Answer, Task]", model: str, device: str, threads: int) -> None:
    """What a worker process does, until its pipe ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        codec = set_up(model, device, threads)
    except Exception as error:  # whatever it is, the next worker would meet it too
        pipe.send(Lost(explain(error), hopeless=True))
        return
    pipe.send(Ready())
    while True:
        task = pipe.recv()
        pipe.send(encode_one(task.item, codec, task.config, lambda step: pipe.send(Step())))


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)
