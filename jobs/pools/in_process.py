"""Pool without workers: `InProcess.wait` encodes in the calling process."""

from collections import deque
from collections.abc import Callable

from codec.interface import AnyCodec
from jobs.pools.base import Task, take_batch
from jobs.record import Record
from jobs.running.encoding import encode


class InProcess:
    """Pool that encodes in this process, up to `batch_max` images of one size together."""

    prefetch = 0

    def __init__(self, codec: AnyCodec, batch_max: int = 1) -> None:
        self.codec, self.slots = codec, batch_max
        self.queue: deque[Task] = deque()
        self.on_step: Callable[[Task], None] = lambda task: None

    def submit(self, task: Task) -> None:
        """Queue a task."""
        self.queue.append(task)

    def wait(self, timeout: float | None = None) -> list[tuple[Task, Record]]:  # noqa: ARG002  (of the protocol)
        """Encode one batch to its end, whatever the timeout, and return it; nothing where the queue is empty."""
        if not self.queue:
            return []
        tasks = take_batch(self.queue, self.slots, str(self.codec.device))
        records = encode([task.item for task in tasks], self.codec, tasks[0].config, lambda step: self._step(tasks))
        return list(zip(tasks, records, strict=True))

    def close(self) -> None:
        """Drop queued tasks."""
        self.queue.clear()

    def _step(self, tasks: list[Task]) -> None:
        for task in tasks:
            self.on_step(task)
