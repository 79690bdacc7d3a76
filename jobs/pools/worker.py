"""Worker process of `jobs.pools.process`: its main loop, which imports torch only after setting its environment.

The invariant: a worker ends with the process that started it, however that ends. One that outlived it could overwrite
the files of a later run.
"""

import os
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing import parent_process
from typing import TYPE_CHECKING

from jobs.runtime import before_torch

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from jobs.pools.base import Task
    from jobs.pools.worker_pool import Answer


def serve(pipe: "Connection[Answer, list[Task]]", model: str, device: str, threads: int) -> None:
    """Load the model, then encode each list of tasks that comes through the pipe, until its other end closes."""
    signal.signal(signal.SIGTERM, _exit)
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    before_torch()
    from jobs.pools.worker_pool import Died, Ready, Step
    from jobs.running.encoding import encode, set_up
    from jobs.running.failures import explain

    with suppress(EOFError, OSError):  # the parent has closed the pipe
        try:
            codec = set_up(model, device, threads)
        except Exception as error:  # of any kind: a replacement would fail alike
            pipe.send(Died(explain(error), permanent=True))
            return
        pipe.send(Ready())
        while True:
            tasks = pipe.recv()
            items = [task.item for task in tasks]
            pipe.send(encode(items, codec, tasks[0].config, lambda step: pipe.send(Step())))


def _exit(*_: object) -> None:
    """Exit by an exception, so that temporary files are removed, and ignore further signals meanwhile."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def _exit_with_parent() -> None:
    """Wait for the end of the parent process, then exit at once."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
