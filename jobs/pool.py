"""Pools: those who encode, asked for pictures and answering with records, in this process, beside it or elsewhere.

A pool holds what it was given until it has a record for it: whatever becomes of a picture, of its worker or of a
machine, it comes back from `wait`, and nothing is raised for one picture's sake.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from jobs.record import SCHEMA, Record
from jobs.worker import EncodeConfig
from jobs.worklist import Item


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
        """

    def close(self) -> None:
        """Kill what runs and free everything; a second call does nothing."""


def failure(task: Task, error: str) -> Record:
    """The record of a task whose worker cannot speak for itself."""
    return Record(schema=SCHEMA, status="failed", input=task.item.input, output=task.item.output, error=error)
