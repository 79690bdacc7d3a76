"""Pool: interface of all that encode many images, here or in workers; it takes tasks and returns records.

    pool.submit(task), ...;  for task, record in pool.wait(): ...;  pool.close()

The invariant: until it is closed, a pool returns each submitted task from `wait` once, with a record. That an image
failed, or its worker or machine died, is an error in that record; no exception is raised for a single image.
"""

from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from jobs.record import SCHEMA, Record
from jobs.running.encode_settings import EncodeConfig
from jobs.running.worklist import Item
from rdo.memory import strip_pixels


class Task(NamedTuple):
    """Image to encode and the settings to encode it with; `key` is any text of the caller, returned unchanged."""

    item: Item
    config: EncodeConfig
    key: str = ""


class Pool(Protocol):
    """Encoder of many images, in this process or in workers.

    Attributes:
        on_step: called with a task after each of its refinement steps, by pools whose workers report steps.
    """

    on_step: Callable[[Task], None]

    @property
    def slots(self) -> int:
        """Most tasks that run at the same time; further ones are queued, in order."""

    @property
    def prefetch(self) -> int:
        """Number of tasks to queue beyond `slots`, so that no worker idles."""

    def submit(self, task: Task) -> None:
        """Queue a task; returns at once."""

    def wait(self, timeout: float | None = None) -> list[tuple[Task, Record]]:
        """Wait for finished tasks and return them, at least one; none if `timeout` seconds pass or no task is left.

        A failure is a record with its error, never an exception.

        Raises:
            ConfigError: no worker can start.
        """

    def close(self) -> None:
        """Kill all workers, drop all tasks and free their resources; a second call does nothing."""


def take_batch(
    queue: deque[Task], batch_max: int, device: str, deaths: Mapping[Task, int] = MappingProxyType({})
) -> list[Task]:
    """Remove the first task from the queue, and those that can be refined together with it, and return this batch.

    All tasks of a batch have one config and one number of pixels. The batch has no more pixels than are refined whole
    (`rdo.memory.strip_pixels`), as strips would slow each image down.

    Args:
        queue: tasks in order.
        batch_max: most tasks in a batch.
        device: device of the worker.
        deaths: number of workers that died while they ran a task; such a task is returned alone, as is one whose config
            sets a target.
    """
    first = queue.popleft()
    fitting = strip_pixels(first.config.refine, device) / max(1, first.item.pixels)
    alone = deaths.get(first) or first.config.targeted
    same_kind = [
        task
        for task in queue
        if task.item.pixels == first.item.pixels and task.config == first.config and not deaths.get(task)
    ]
    chosen = [] if alone else same_kind[: int(max(1, min(batch_max, fitting))) - 1]
    for task in chosen:
        queue.remove(task)
    return [first, *chosen]


def failure(task: Task, error: str) -> Record:
    """Return the failed record of a task whose worker died or was killed."""
    return Record(schema=SCHEMA, status="failed", input=task.item.input, output=task.item.output, error=error)
