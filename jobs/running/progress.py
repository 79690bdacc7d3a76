"""How far a run is, for people: a bar on a terminal, elsewhere a line now and then that a log can keep."""

import sys
import time
from collections import Counter
from pathlib import Path
from types import TracebackType

from tqdm import tqdm

from jobs.cli import printable, say
from jobs.pools.base import Task
from jobs.record import Record
from jobs.running.worklist import Item

LINE_S = 30.0  # between lines in a log
_BAR = "{desc} {percentage:3.0f}%|{bar:20}| {elapsed}, {remaining} left"


class Progress:
    """Images, megapixels, gain and time left of a run over `items`, `steps` steps each.

    Work is counted in megapixels times steps; what was done before is none.
    """

    def __init__(self, items: list[Item], steps: int) -> None:
        self.steps = max(1, steps)
        self.images, self.images_total = 0, len(items)
        self.pixels, self.pixels_total = 0, sum(item.pixels for item in items)
        self.done, self.work = 0.0, self.steps * self.pixels_total / 1e6
        self.gained, self.gain = 0, 0.0  # pictures with a gain, and its mean, in percent
        self.seen: Counter[Item] = Counter()
        self.begin = self.told = time.monotonic()
        self.bar = tqdm(total=self.work, disable=None, file=sys.stderr, bar_format=_BAR, smoothing=0)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bar.close()

    def step(self, task: Task) -> None:
        """Count a refinement step; those beyond the plan, as a search for a target may take, count nothing."""
        if self.seen[task.item] < self.steps:
            self.seen[task.item] += 1
            self._advance(task.item, task.item.pixels / 1e6)

    def finish(self, item: Item, record: Record) -> None:
        """Count a picture."""
        self.images += 1
        self.pixels += item.pixels
        rest = (self.steps - self.seen.pop(item, 0)) * item.pixels / 1e6
        if record.status == "skipped":
            self.bar.total = self.work = self.work - rest
        else:
            if record.outcome:
                self.gained += 1
                self.gain += (record.outcome.gain_percent - self.gain) / self.gained
            self._advance(item, rest)
        if self.bar.disable and time.monotonic() - self.told >= LINE_S:
            self.told = time.monotonic()
            say(f"{self}, {tqdm.format_interval(self.seconds_left)} left")

    def _advance(self, item: Item, work: float) -> None:
        self.done += work
        self.bar.set_description_str(f"{self} {printable(Path(item.input).name)[:30]}", refresh=False)
        self.bar.update(min(work, self.work - self.bar.n))  # sums of floats may end beyond the total

    @property
    def seconds_left(self) -> float:
        """At the speed so far."""
        return (time.monotonic() - self.begin) * max(0.0, self.work / self.done - 1) if self.done else 0.0

    def __str__(self) -> str:
        gain = f", gain {self.gain:.2f} %" if self.gained else ""
        size = f"{self.pixels / 1e6:.1f}/{self.pixels_total / 1e6:.1f} MP"
        return f"{self.images}/{self.images_total} images, {size}{gain}"
