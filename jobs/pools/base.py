"""Pools: encoders of many images that take tasks and return records.

The invariant: a pool holds each task until it has a record for it. Whatever becomes of an image, its worker or a
machine, the task comes back from `Pool.wait`; no exception is raised for a single image.
"""

from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from jobs.record import SCHEMA, Record
from jobs.running.encode_settings import EncodeConfig
from jobs.running.worklist import Item
from rdo.strips import strip_pixels


class Task(NamedTuple):
    """One image to encode; `key` is an identifier of the caller's, returned unchanged."""

    item: Item
    config: EncodeConfig
    key: str = ""


class Pool(Protocol):
    """Encoder of many images, in this process or in workers.

    Attributes:
        on_step: called with a task after each of its refinement steps, where the pool is told of them.
    """

    on_step: Callable[[Task], None]

    @property
    def slots(self) -> int:
        """Number of tasks that run at the same time; further ones are queued, in order."""

    @property
    def prefetch(self) -> int:
        """Number of tasks to queue beyond `slots`, so that no worker idles."""

    def submit(self, task: Task) -> None:
        """Queue a task; returns at once."""

    def wait(self, timeout: float | None = None) -> list[tuple[Task, Record]]:
        """Return finished tasks, at least one; none after `timeout` seconds or where none is under way.

        A failure is a record with its error, never an exception.

        Raises:
            ConfigError: no worker can start.
        """

    def close(self) -> None:
        """Kill all workers, drop all tasks and free everything; a second call does nothing."""


def take_batch(
    queue: deque[Task], batch_max: int, device: str, deaths: Mapping[Task, int] = MappingProxyType({})
) -> list[Task]:
    """Remove and return the first task and those that can be refined together with it.

    A batch has one config and one number of pixels. It stays below the pixels of one strip on `device`, so that
    batching never slows an image down.

    Args:
        batch_max: most tasks in a batch.
        device: device of the worker.
        deaths: number of workers that died at a task; such a task goes alone, as does one with a rate target.
    """
    first = queue.popleft()
    fitting = strip_pixels(first.config.refine, device) / max(1, first.item.pixels)
    alone = deaths.get(first) or first.config.targeted
    alike = [
        task
        for task in queue
        if task.item.pixels == first.item.pixels and task.config == first.config and not deaths.get(task)
    ]
    chosen = [] if alone else alike[: int(max(1, min(batch_max, fitting))) - 1]
    for task in chosen:
        queue.remove(task)
    return [first, *chosen]


def failure(task: Task, error: str) -> Record:
    """Return the record of a task whose worker died or was killed."""
    return Record(schema=SCHEMA, status="failed", input=task.item.input, output=task.item.output, error=error)
