"""Worker pool: scheduling, retries and time limits; subclasses start workers and exchange messages with them.

    submit -> queue -> dispatched to an idle worker -> answer: Step ..., then records -> finished -> returned by wait
                 ^------------------------------------ the worker died: at most RETRIES times

The invariant: every task is in exactly one place: the queue, one worker's `tasks`, or `finished`.
"""

import math
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Generic, NamedTuple, TypeVar

from codec.errors import ConfigError
from jobs.cli import say
from jobs.pools.base import Task, failure, take_batch
from jobs.record import Record

RETRIES = 2  # of a task whose worker died
FAILED_STARTS_MAX = 3  # workers in a row that died before they were ready
START_WARNING_S = 60.0  # without any ready worker, until a warning


class Ready(NamedTuple):
    """Answer of a worker: the model is loaded, tasks may be sent."""


class Step(NamedTuple):
    """Answer of a worker: one refinement step of its tasks is finished."""


class Died(NamedTuple):
    """End of a worker, as an answer; `permanent` where a replacement would end for the same reason."""

    reason: str
    permanent: bool = False


Answer = Ready | Step | list[Record] | Died  # records are those of all tasks of the worker, in order
Handle = TypeVar("Handle")  # a subclass's reference to one worker


@dataclass
class _Worker(Generic[Handle]):
    """State of one worker: starting until `ready`, then idle while it has no `tasks`.

    Attributes:
        handle: reference of the subclass to it.
        ready: whether its model is loaded.
        tasks: batch that it was sent last, until its records come.
        deadline: time, by time.monotonic, at which it is killed.
        idle_since: time, by time.monotonic, since which it has been ready and without tasks.
    """

    handle: Handle
    ready: bool = False
    tasks: list[Task] = field(default_factory=list)
    deadline: float = math.inf
    idle_since: float = math.inf


class WorkerPool(ABC, Generic[Handle]):
    """Worker pool that restarts dead workers and retries their tasks up to RETRIES times.

    Idle workers are sent batches of tasks. A task whose worker died is retried alone, so that a further death is due to
    that task and not to others of its batch. Subclasses implement `start`, `send`, `receive` and `kill`.
    """

    def __init__(
        self,
        workers_max: int,
        seconds_max: float,
        batch_max: int = 1,
        device: str = "cpu",
        *,
        idle_max_s: float = math.inf,
    ) -> None:
        """Create a pool without workers; they are started as tasks are submitted.

        Args:
            workers_max: most workers at a time; lowered by those that cannot start.
            seconds_max: time limit for an image, on average over its batch; after it the worker is killed.
            batch_max: images of one size that a worker refines together.
            device: device of each worker.
            idle_max_s: seconds without work after which a worker is ended, while others are at work.
        """
        self.workers_max, self.seconds_max, self.batch_max, self.device = workers_max, seconds_max, batch_max, device
        self.idle_max_s = idle_max_s
        self.on_step: Callable[[Task], None] = lambda task: None
        self.workers: list[_Worker[Handle]] = []
        self.queue: deque[Task] = deque()
        self.deaths: Counter[Task] = Counter()  # of workers, by task
        self.finished: list[tuple[Task, Record]] = []
        self.failed_starts = 0
        self.start_warning_at = math.inf  # by time.monotonic

    @abstractmethod
    def start(self) -> Handle:
        """Start a worker without waiting for it; its first answer is Ready or Died."""

    @abstractmethod
    def send(self, handle: Handle, tasks: list[Task]) -> None:
        """Send tasks of one config to an idle worker, which answers with their records, or with Died."""

    @abstractmethod
    def receive(self, timeout: float | None) -> list[tuple[Handle, Answer]]:
        """Wait for answers of workers and return them, at least one unless `timeout` seconds pass."""

    @abstractmethod
    def kill(self, handle: Handle) -> None:
        """End a worker, dead or alive, and free its resources."""

    @property
    def slots(self) -> int:
        """Number of tasks that run at the same time: workers times batch."""
        return self.workers_max * self.batch_max

    @property
    def prefetch(self) -> int:
        """Number of tasks to queue beyond `slots`: one batch."""
        return self.batch_max if self.slots > 1 else 0

    def submit(self, task: Task) -> None:
        """Queue a task and send it at once if a worker is idle."""
        self.queue.append(task)
        self._dispatch()

    def wait(self, timeout: float | None = None) -> list[tuple[Task, Record]]:
        """Wait for finished tasks and return them, at least one; none if `timeout` seconds pass or no task is left.

        Raises:
            ConfigError: no worker can start.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        while not self.finished and (self.queue or any(worker.tasks for worker in self.workers)):
            self._dispatch()
            wake = min([end, self.start_warning_at, *(worker.deadline for worker in self.workers)])
            for handle, answer in self.receive(None if wake == math.inf else max(0.0, wake - time.monotonic())):
                self._process(next(worker for worker in self.workers if worker.handle is handle), answer)
            self._check_time_limits()
            self._end_idle()
            if time.monotonic() >= end:
                break
        self._dispatch()
        finished, self.finished = self.finished, []
        return finished

    def close(self) -> None:
        """Kill all workers and drop all tasks."""
        self.queue.clear()
        while self.workers:
            self.kill(self.workers.pop().handle)

    def _dispatch(self) -> None:
        """Send queued tasks to idle workers; start workers for the rest of the queue."""
        for worker in self.workers:
            if worker.ready and not worker.tasks and self.queue:
                worker.tasks = take_batch(self.queue, self.batch_max, self.device, self.deaths)
                worker.deadline = time.monotonic() + self.seconds_max * len(worker.tasks)
                worker.idle_since = math.inf
                self.send(worker.handle, worker.tasks)
        starting = sum(not worker.ready for worker in self.workers)
        batches = -(-len(self.queue) // self.batch_max)
        for _ in range(min(self.workers_max - len(self.workers), batches - starting)):
            if not self.workers:
                self.start_warning_at = time.monotonic() + START_WARNING_S
            self.workers.append(_Worker(self.start()))

    def _process(self, worker: _Worker[Handle], answer: Answer) -> None:
        """Update the pool's state by one answer."""
        if isinstance(answer, Died):
            self._handle_death(worker, answer)
        elif isinstance(answer, Ready):
            worker.ready, self.failed_starts, self.start_warning_at = True, 0, math.inf
            worker.idle_since = time.monotonic()
        elif isinstance(answer, Step):
            for task in worker.tasks:
                self.on_step(task)
        else:
            for task, record in zip(worker.tasks, answer, strict=True):
                item = task.item  # the worker may have been sent its paths made absolute
                self._finish(task, replace(record, input=item.input, output=item.output))
            worker.tasks, worker.deadline, worker.idle_since = [], math.inf, time.monotonic()

    def _handle_death(self, worker: _Worker[Handle], death: Died) -> None:
        """Remove a dead worker; queue its tasks again behind all others, RETRIES times, then fail them.

        Raises:
            ConfigError: no worker is left, and no further one is expected to start.
        """
        self._remove(worker)
        for task in worker.tasks:
            self.deaths[task] += 1
            if (deaths := self.deaths[task]) <= RETRIES:
                self.queue.append(task)
            else:
                text = f"its worker died {deaths} times ({death.reason}): take fewer workers or downscale the picture"
                self._finish(task, failure(task, text))
        if not worker.ready:
            self.failed_starts += 1
            if death.permanent or self.failed_starts >= FAILED_STARTS_MAX:
                if not self.workers:  # else those that are starting may succeed
                    raise ConfigError(f"no worker can start: {death.reason}")
                self.workers_max -= 1

    def _check_time_limits(self) -> None:
        """Kill workers past their deadline and fail their tasks; warn where no worker has become ready."""
        now = time.monotonic()
        if now >= self.start_warning_at:
            say(f"no worker has started in {START_WARNING_S:g} seconds, waiting on: is there room for one?")
            self.start_warning_at = math.inf
        for worker in [w for w in self.workers if now >= w.deadline]:
            self._remove(worker)
            for task in worker.tasks:
                text = f"stopped after {self.seconds_max:g} seconds: raise --max-seconds-per-image, or lower --effort"
                self._finish(task, failure(task, text))

    def _end_idle(self) -> None:
        """End workers that have had nothing to do for long, while the last tasks run."""
        for worker in [w for w in self.workers if time.monotonic() - w.idle_since >= self.idle_max_s]:
            self._remove(worker)

    def _finish(self, task: Task, record: Record) -> None:
        """Move a task to `finished`."""
        del self.deaths[task]
        self.finished.append((task, record))

    def _remove(self, worker: _Worker[Handle]) -> None:
        """Kill a worker and forget it."""
        self.workers.remove(worker)
        self.kill(worker.handle)
