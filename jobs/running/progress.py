"""Progress of a run on stderr: a bar on a terminal, a line every LINE_S seconds in a log."""

import math
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from tqdm import tqdm

from jobs.cli import printable, say, shows_bars
from jobs.pools.base import Task
from jobs.record import Record

LINE_S = 30.0
# what an encoding takes besides its steps, in steps: plainly 2.6 by the mse and 3.7 for the eye, refined 7 and 11
# (measured on two cores, two Kodak pictures)
PLAIN_STEPS, REFINED_STEPS = 3.0, 9.0
_BAR = "{desc} {percentage:3.0f}%|{bar:20}| {elapsed}{postfix} left"


class Part(NamedTuple):
    """Place of some tasks in a run of several passes; by default they are all of it.

    Attributes:
        name: of the pass, shown before the images, such as "pass 2 of 3".
        before, after: work of the passes before and after it, as `work_of` gives.
        left_s: seconds that a budget leaves for this pass and all after it; None estimates them by the work.
    """

    name: str = ""
    before: float = 0.0
    after: float = 0.0
    left_s: float | None = None


WHOLE = Part()


def work_of(tasks: Iterable[Task]) -> float:
    """Return the work of tasks: megapixels times steps, or megabytes of pictures in buckets."""
    return math.fsum(_steps(task) * task.item.work for task in tasks) / 1e6


def _steps(task: Task) -> float:
    """Return what a task takes, in steps."""
    steps = task.config.refine.iters
    return REFINED_STEPS + steps if steps else PLAIN_STEPS


class Progress:
    """Images, megapixels, mean gain and time left of tasks and of the passes after them.

    Tasks whose images were done before have no work.
    """

    def __init__(self, tasks: Sequence[Task], part: Part = WHOLE) -> None:
        self.part, self.noun = part, "images" if len({task.item for task in tasks}) == len(tasks) else "encodings"
        self.images, self.images_total = 0, len(tasks)
        self.pixels, self.pixels_total = 0, sum(task.item.work for task in tasks)
        self.unit = "MB" if any(task.item.bytes and not task.item.pixels for task in tasks) else "MP"
        self.done, self.work = 0.0, work_of(tasks)
        self.gains, self.gain_percent = 0, 0.0  # number of refined images, and the mean of their gains
        self.steps_done: Counter[Task] = Counter()
        self.start = self.last_line = time.monotonic()
        self.bar = tqdm(
            total=self.total, initial=part.before, postfix=self._left(), bar_format=_BAR, file=sys.stderr,
            disable=not shows_bars(),
        )  # fmt: skip

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bar.close()

    def step(self, task: Task) -> None:
        """Count a refinement step; those beyond the settings, which a search for a target may take, are not counted."""
        if self.steps_done[task] < task.config.refine.iters:
            self.steps_done[task] += 1
            self._advance(task, task.item.work / 1e6)

    def finish(self, task: Task, record: Record) -> None:
        """Count an image, and what was not counted of its task."""
        self.images += 1
        self.pixels += task.item.work
        rest = (_steps(task) - self.steps_done.pop(task, 0)) * task.item.work / 1e6
        if record.status == "skipped":
            self.work -= rest
            self.bar.total = self.total
        else:
            if record.outcome and task.config.refine.iters:  # plain encoding gains nothing on itself
                self.gains += 1
                self.gain_percent += (record.outcome.gain_percent - self.gain_percent) / self.gains
            self._advance(task, rest)
        if self.bar.disable and time.monotonic() - self.last_line >= LINE_S:
            self.last_line = time.monotonic()
            say(f"{self}, {self._left()} left")

    def _advance(self, task: Task, work: float) -> None:
        self.done += work
        self.bar.set_description_str(f"{self} {printable(Path(task.item.input).name)[:30]}", refresh=False)
        self.bar.set_postfix_str(self._left(), refresh=False)
        self.bar.update(min(work, self.total - self.bar.n))  # rounding may exceed the total

    @property
    def total(self) -> float:
        """Work of all passes."""
        return self.part.before + self.work + self.part.after

    def _left(self) -> str:
        is_known = self.done or self.part.left_s is not None
        return tqdm.format_interval(self.seconds_left) if is_known else "?"

    @property
    def seconds_left(self) -> float:
        """Estimate of the time left of the run: what its budget leaves, or by the work and the mean speed so far."""
        elapsed = time.monotonic() - self.start
        if self.part.left_s is not None:
            return max(0.0, self.part.left_s - elapsed)
        return elapsed * max(0.0, (self.total - self.part.before) / self.done - 1) if self.done else 0.0

    def __str__(self) -> str:
        name = f"{self.part.name}: " if self.part.name else ""
        gain = f", gain {self.gain_percent:.2f} %" if self.gains else ""
        size = f"{self.pixels / 1e6:.1f}/{self.pixels_total / 1e6:.1f} {self.unit}"
        return f"{name}{self.images}/{self.images_total} {self.noun}, {size}{gain}"
