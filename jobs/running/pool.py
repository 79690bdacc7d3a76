"""Pools: those who encode, asked for pictures and answering with records, in this process, beside it or elsewhere.

A pool holds what it was given until it has a record for it: whatever becomes of a picture, of its worker or of a
machine, it comes back from `wait`, and nothing is raised for one picture's sake.
"""

import math
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, Protocol, TypeVar

from codec.errors import ConfigError
from jobs.record import SCHEMA, Record
from jobs.running.worker import EncodeConfig
from jobs.worklist import Item

RETRIES = 2  # of a task whose worker died
FALSE_STARTS_MAX = 3  # workers in a row that die before they can work


class Task(NamedTuple):
    """One picture to encode; `key` is its giver's own name for it, and an output NOWHERE is scored but not written."""

    item: Item
    config: EncodeConfig
    key: str = ""


class Pool(Protocol):
    """Whoever encodes.

    Attributes:
        slots: tasks that run at the same time; what is submitted beyond waits its turn, in order.
        on_step: called with a task that has finished a refinement step, where the pool hears of it.
    """

    slots: int
    on_step: Callable[[Task], None]

    def submit(self, task: Task) -> None:
        """Take a task; returns at once."""

    def wait(self, timeout: float | None = None) -> list[tuple[Task, Record]]:
        """At least one finished task; none where `timeout` seconds have passed or nothing is under way.

        A failure is a record with its error, never an exception.

        Raises:
            ConfigError: no worker can work at all.
        """

    def close(self) -> None:
        """Kill what runs and free everything; a second call does nothing."""


class Ready(NamedTuple):
    """A worker has loaded the model."""


class Step(NamedTuple):
    """A worker has finished a refinement step."""


class Lost(NamedTuple):
    """A worker is no more; `hopeless` where another in its place would fare alike."""

    reason: str
    hopeless: bool = False


Answer = Ready | Step | Record | Lost
Handle = TypeVar("Handle")


@dataclass
class _Worker(Generic[Handle]):
    """One worker, and what it is at: `task` None is idle, or starting while not `ready`."""

    handle: Handle
    ready: bool = False
    task: Task | None = None
    deadline: float = math.inf


class Crew(ABC, Generic[Handle]):
    """A pool of workers that may die: their tasks are given to others, they themselves replaced.

    A task is given to a worker that has loaded the model, one at a time, so its time and its worker's death are its
    own. Those who know how to start, ask and kill workers extend it; a `Handle` is what they know a worker by.
    """

    def __init__(self, slots: int, seconds_max: float) -> None:
        """Workers are started when there is work.

        Args:
            slots: workers wanted; fewer where some cannot work.
            seconds_max: longest that a picture may take; its worker is killed then.
        """
        self.slots, self.seconds_max = slots, seconds_max
        self.on_step: Callable[[Task], None] = lambda task: None
        self.workers: list[_Worker[Handle]] = []
        self.queue: deque[Task] = deque()
        self.deaths: Counter[Task] = Counter()  # of workers, by what they were at
        self.finished: list[tuple[Task, Record]] = []
        self.false_starts = 0

    @abstractmethod
    def start(self) -> Handle:
        """A new worker, which answers Ready or Lost in time."""

    @abstractmethod
    def give(self, handle: Handle, task: Task) -> None:
        """Hand a task to an idle worker; it answers with a Record or Lost."""

    @abstractmethod
    def listen(self, timeout: float | None) -> list[tuple[Handle, Answer]]:
        """What the workers answer, at least one thing unless `timeout` seconds pass."""

    @abstractmethod
    def kill(self, handle: Handle) -> None:
        """End a worker, dead or alive, and free what it held."""

    def submit(self, task: Task) -> None:
        """See `Pool`."""
        self.queue.append(task)
        self._employ()

    def wait(self, timeout: float | None = None) -> list[tuple[Task, Record]]:
        """See `Pool`."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        while not self.finished and (self.queue or any(worker.task for worker in self.workers)):
            self._employ()
            due = min([end, *(worker.deadline for worker in self.workers)])
            for handle, answer in self.listen(None if due == math.inf else max(0.0, due - time.monotonic())):
                self._hear(next(worker for worker in self.workers if worker.handle is handle), answer)
            self._watch()
            if time.monotonic() >= end:
                break
        self._employ()
        finished, self.finished = self.finished, []
        return finished

    def close(self) -> None:
        """See `Pool`."""
        self.queue.clear()
        while self.workers:
            self.kill(self.workers.pop().handle)

    def _employ(self) -> None:
        """Give what waits to whoever is idle, and start workers while there is more."""
        for worker in self.workers:
            if worker.ready and not worker.task and self.queue:
                worker.task = self.queue.popleft()
                worker.deadline = time.monotonic() + self.seconds_max
                self.give(worker.handle, worker.task)
        starting = sum(not worker.ready for worker in self.workers)
        for _ in range(min(self.slots - len(self.workers), len(self.queue) - starting)):
            self.workers.append(_Worker(self.start()))

    def _hear(self, worker: _Worker[Handle], answer: Answer) -> None:
        if isinstance(answer, Lost):
            self._replace(worker, answer)
        elif isinstance(answer, Ready):
            worker.ready, self.false_starts = True, 0
        elif worker.task and isinstance(answer, Step):
            self.on_step(worker.task)
        elif worker.task and isinstance(answer, Record):
            item = worker.task.item  # elsewhere its paths may have been written otherwise
            self._finish(worker.task, replace(answer, input=item.input, output=item.output))
            worker.task, worker.deadline = None, math.inf

    def _replace(self, worker: _Worker[Handle], lost: Lost) -> None:
        """Forget a worker that died; its task is tried again after all others, RETRIES times."""
        self._dismiss(worker)
        if worker.task:
            self.deaths[worker.task] += 1
            if (deaths := self.deaths[worker.task]) <= RETRIES:
                self.queue.append(worker.task)
            else:
                text = f"its worker died {deaths} times ({lost.reason}): take fewer workers or downscale the picture"
                self._finish(worker.task, failure(worker.task, text))
        elif not worker.ready:
            self.false_starts += 1
            if lost.hopeless or self.false_starts >= FALSE_STARTS_MAX:
                if not any(other.ready for other in self.workers):
                    raise ConfigError(f"no worker can start: {lost.reason}")
                self.slots -= 1

    def _watch(self) -> None:
        """Kill whoever is over time."""
        now = time.monotonic()
        for worker in [w for w in self.workers if now >= w.deadline]:
            self._dismiss(worker)
            if worker.task:
                text = f"stopped after {self.seconds_max:g} seconds: raise --max-seconds-per-image, or lower --effort"
                self._finish(worker.task, failure(worker.task, text))

    def _finish(self, task: Task, record: Record) -> None:
        del self.deaths[task]
        self.finished.append((task, record))

    def _dismiss(self, worker: _Worker[Handle]) -> None:
        self.workers.remove(worker)
        self.kill(worker.handle)


def failure(task: Task, error: str) -> Record:
    """The record of a task whose worker cannot speak for itself."""
    return Record(schema=SCHEMA, status="failed", input=task.item.input, output=task.item.output, error=error)
