"""Progress of a run on stderr: a bar on a terminal, a line every LINE_S seconds in a log."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tqdm import tqdm

from jobs.cli import printable, say, shows_bars
from jobs.pools.base import Task
from jobs.record import Record
from jobs.running.worklist import Item

LINE_S = 30.0
_BAR = "{desc} {percentage:3.0f}%|{bar:20}| {elapsed}, {remaining} left"


class Progress:
    """Images, megapixels, mean gain and time left of a run over `items`, with `steps` steps for all or for each.

    Work is counted in megapixels times steps, or megabytes of pictures in buckets; items that were done before have
    none.
    """

    def __init__(self, items: list[Item], steps: int | Sequence[int]) -> None:
        counts = [steps] * len(items) if isinstance(steps, int) else steps
        self.steps = {item: max(1, count) for item, count in zip(items, counts, strict=True)}
        self.images, self.images_total = 0, len(items)
        self.pixels, self.pixels_total = 0, sum(item.work for item in items)
        self.unit = "MB" if any(item.bytes and not item.pixels for item in items) else "MP"
        self.done, self.work = 0.0, sum(self.steps[item] * item.work for item in items) / 1e6
        self.gains, self.gain_percent = 0, 0.0  # number of images with a gain, and their mean
        self.steps_done: Counter[Item] = Counter()
        self.start = self.last_line = time.monotonic()
        self.bar = tqdm(total=self.work, disable=not shows_bars(), file=sys.stderr, bar_format=_BAR, smoothing=0)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.bar.close()

    def step(self, task: Task) -> None:
        """Count a refinement step; those beyond `steps`, which a search for a target may take, are not counted."""
        if self.steps_done[task.item] < self.steps[task.item]:
            self.steps_done[task.item] += 1
            self._advance(task.item, task.item.work / 1e6)

    def finish(self, item: Item, record: Record) -> None:
        """Count an image, and those of its steps that were not taken."""
        self.images += 1
        self.pixels += item.work
        rest = (self.steps[item] - self.steps_done.pop(item, 0)) * item.work / 1e6
        if record.status == "skipped":
            self.bar.total = self.work = self.work - rest
        else:
            if record.outcome:
                self.gains += 1
                self.gain_percent += (record.outcome.gain_percent - self.gain_percent) / self.gains
            self._advance(item, rest)
        if self.bar.disable and time.monotonic() - self.last_line >= LINE_S:
            self.last_line = time.monotonic()
            say(f"{self}, {tqdm.format_interval(self.seconds_left)} left")

    def _advance(self, item: Item, work: float) -> None:
        self.done += work
        self.bar.set_description_str(f"{self} {printable(Path(item.input).name)[:30]}", refresh=False)
        self.bar.update(min(work, self.work - self.bar.n))  # rounding may exceed the total

    @property
    def seconds_left(self) -> float:
        """Estimate of the time left, at the mean speed so far."""
        return (time.monotonic() - self.start) * max(0.0, self.work / self.done - 1) if self.done else 0.0

    def __str__(self) -> str:
        gain = f", gain {self.gain_percent:.2f} %" if self.gains else ""
        size = f"{self.pixels / 1e6:.1f}/{self.pixels_total / 1e6:.1f} {self.unit}"
        return f"{self.images}/{self.images_total} images, {size}{gain}"
