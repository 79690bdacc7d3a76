"""A worker process, started by `processes`. It imports little until it has set what torch reads on import.

It ends with the process that started it, however that ends: a worker that outlived it could write over what a later
run has made.
"""

import os
import signal
import sys
import threading
from contextlib import suppress
from multiprocessing import parent_process
from typing import TYPE_CHECKING

from jobs import cli

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from jobs.pools.base import Answer, Task


def work(pipe: "Connection[Answer, list[Task]]", model: str, device: str, threads: int) -> None:
    """Load the model, then encode what comes through the pipe, until it ends."""
    signal.signal(signal.SIGTERM, _end)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    cli.before_torch()
    from jobs.pools.base import Lost, Ready, Step
    from jobs.running.encoding import encode, explain, set_up

    with suppress(EOFError, OSError):  # nobody is there any more
        try:
            codec = set_up(model, device, threads)
        except Exception as error:  # whatever it is, the next worker would meet it too
            pipe.send(Lost(explain(error), hopeless=True))
            return
        pipe.send(Ready())
        while True:
            tasks = pipe.recv()
            items = [task.item for task in tasks]
            pipe.send(encode(items, codec, tasks[0].config, lambda step: pipe.send(Step())))


def _end(*_: object) -> None:
    """By an exception, so that temporary files are removed; a second signal would only cut that short."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
