"""Pools: those who encode, asked for pictures and answering with records, in this process, beside it or elsewhere.

A pool holds what it was given until it has a record for it: whatever becomes of a picture, of its worker or of a
machine, it comes back from `wait`, and nothing is raised for one picture's sake.
"""

import math
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Generic, NamedTuple, Protocol, TypeVar

from codec.errors import ConfigError
from jobs.cli import say
from jobs.record import SCHEMA, Record
from jobs.running.encode_settings import EncodeConfig
from jobs.running.worklist import Item
from rdo.memory import strip_pixels

RETRIES = 2  # of a task whose worker died
FALSE_STARTS_MAX = 3  # workers in a row that die before they can work
SILENCE_S = 60.0  # without any worker, before a word is said


class Task(NamedTuple):
    """One picture to encode; `key` is its giver's own name for it, and an output NOWHERE is scored but not written."""

    item: Item
    config: EncodeConfig
    key: str = ""


class Pool(Protocol):
    """Whoever encodes.

    Attributes:
        on_step: called with a task that has finished a refinement step, where the pool hears of it.
    """

    on_step: Callable[[Task], None]

    @property
    def slots(self) -> int:
        """Tasks that run at the same time; what is submitted beyond waits its turn, in order."""

    @property
    def spare(self) -> int:
        """Tasks that should wait, so that no worker does."""

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


Answer = Ready | Step | list[Record] | Lost
Handle = TypeVar("Handle")


@dataclass
class _Worker(Generic[Handle]):
    """One worker, and what it is at: no `tasks` is idle, or starting while not `ready`."""

    handle: Handle
    ready: bool = False
    tasks: list[Task] = field(default_factory=list)
    deadline: float = math.inf


class Crew(ABC, Generic[Handle]):
    """A pool of workers that may die: their tasks are given to others, they themselves replaced.

    Tasks are given to workers that have loaded the model, up to `batch` alike at a time; one whose worker died goes
    alone from then on, so that a death is its own. Those who know how to start, ask and kill workers extend it; a
    `Handle` is what they know a worker by.
    """

    def __init__(self, crew: int, seconds_max: float, batch: int = 1, device: str = "cpu") -> None:
        """Workers are started when there is work.

        Args:
            crew: workers wanted; fewer where some cannot work.
            seconds_max: longest that a picture may take, on average over a batch; its worker is killed then.
            batch: pictures of one size that a worker is given at a time.
            device: of each worker.
        """
        self.crew, self.seconds_max, self.batch, self.device = crew, seconds_max, batch, device
        self.on_step: Callable[[Task], None] = lambda task: None
        self.workers: list[_Worker[Handle]] = []
        self.queue: deque[Task] = deque()
        self.deaths: Counter[Task] = Counter()  # of workers, by what they were at
        self.finished: list[tuple[Task, Record]] = []
        self.false_starts = 0
        self.word_due = math.inf  # when to say that nobody has started

    @abstractmethod
    def start(self) -> Handle:
        """A new worker, which answers Ready or Lost in time."""

    @abstractmethod
    def give(self, handle: Handle, tasks: list[Task]) -> None:
        """Hand tasks of one config to an idle worker; it answers with their records or Lost."""

    @abstractmethod
    def listen(self, timeout: float | None) -> list[tuple[Handle, Answer]]:
        """What the workers answer, at least one thing unless `timeout` seconds pass."""

    @abstractmethod
    def kill(self, handle: Handle) -> None:
        """End a worker, dead or alive, and free what it held."""

    @property
    def slots(self) -> int:
        """See `Pool`."""
        return self.crew * self.batch

    @property
    def spare(self) -> int:
        """See `Pool`."""
        return self.batch if self.slots > 1 else 0

    def submit(self, task: Task) -> None:
        """See `Pool`."""
        self.queue.append(task)
        self._employ()

    def wait(self, timeout: float | None = None) -> list[tuple[Task, Record]]:
        """See `Pool`."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        while not self.finished and (self.queue or any(worker.tasks for worker in self.workers)):
            self._employ()
            due = min([end, self.word_due, *(worker.deadline for worker in self.workers)])
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
            if worker.ready and not worker.tasks and self.queue:
                worker.tasks = take_alike(self.queue, self.batch, self.device, self.deaths)
                worker.deadline = time.monotonic() + self.seconds_max * len(worker.tasks)
                self.give(worker.handle, worker.tasks)
        starting = sum(not worker.ready for worker in self.workers)
        for _ in range(min(self.crew - len(self.workers), -(-len(self.queue) // self.batch) - starting)):
            if not self.workers:
                self.word_due = time.monotonic() + SILENCE_S
            self.workers.append(_Worker(self.start()))

    def _hear(self, worker: _Worker[Handle], answer: Answer) -> None:
        if isinstance(answer, Lost):
            self._replace(worker, answer)
        elif isinstance(answer, Ready):
            worker.ready, self.false_starts, self.word_due = True, 0, math.inf
        elif isinstance(answer, Step):
            for task in worker.tasks:
                self.on_step(task)
        else:
            for task, record in zip(worker.tasks, answer, strict=True):
                item = task.item  # elsewhere its paths may have been written otherwise
                self._finish(task, replace(record, input=item.input, output=item.output))
            worker.tasks, worker.deadline = [], math.inf

    def _replace(self, worker: _Worker[Handle], lost: Lost) -> None:
        """Forget a worker that died; its tasks are tried again after all others, RETRIES times."""
        self._dismiss(worker)
        for task in worker.tasks:
            self.deaths[task] += 1
            if (deaths := self.deaths[task]) <= RETRIES:
                self.queue.append(task)
            else:
                text = f"its worker died {deaths} times ({lost.reason}): take fewer workers or downscale the picture"
                self._finish(task, failure(task, text))
        if not worker.ready:
            self.false_starts += 1
            if lost.hopeless or self.false_starts >= FALSE_STARTS_MAX:
                if not self.workers:  # others that are starting may fare better
                    raise ConfigError(f"no worker can start: {lost.reason}")
                self.crew -= 1

    def _watch(self) -> None:
        """Kill whoever is over time; say so where nobody starts."""
        now = time.monotonic()
        if now >= self.word_due:
            say(f"no worker has started in {SILENCE_S:g} seconds, waiting on: is there room for one?")
            self.word_due = math.inf
        for worker in [w for w in self.workers if now >= w.deadline]:
            self._dismiss(worker)
            for task in worker.tasks:
                text = f"stopped after {self.seconds_max:g} seconds: raise --max-seconds-per-image, or lower --effort"
                self._finish(task, failure(task, text))

    def _finish(self, task: Task, record: Record) -> None:
        del self.deaths[task]
        self.finished.append((task, record))

    def _dismiss(self, worker: _Worker[Handle]) -> None:
        self.workers.remove(worker)
        self.kill(worker.handle)


def take_alike(
    queue: deque[Task], most: int, device: str, deaths: Mapping[Task, int] = MappingProxyType({})
) -> list[Task]:
    """Take the first task, and up to `most` in all that may go with it: as large, with the same config, no worker lost.

    Together they stay below the pixels of one strip, so that company never costs a picture its speed on that device.
    """
    first = queue.popleft()
    fit = strip_pixels(first.config.refine, device) / max(1, first.item.pixels)
    alone = deaths.get(first) or first.config.targeted
    company = [
        task
        for task in queue
        if task.item.pixels == first.item.pixels and task.config == first.config and not deaths.get(task)
    ]
    chosen = [] if alone else company[: int(max(1, min(most, fit))) - 1]
    for task in chosen:
        queue.remove(task)
    return [first, *chosen]


def failure(task: Task, error: str) -> Record:
    """The record of a task whose worker cannot speak for itself."""
    return Record(schema=SCHEMA, status="failed", input=task.item.input, output=task.item.output, error=error)
