"""Schedules, as functions of the fraction t in 0..1 of the budget that is spent, and the clock that measures t.

Invariant: no schedule depends on a number of steps, so that a budget of seconds compresses it.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch


def geometric(start: float, end: float, t: float) -> float:
    """Return start * (end / start)^t: temperatures of relaxations, move fractions."""
    return start * (end / start) ** t


def cosine(start: float, end: float, t: float) -> float:
    """Return half a cosine from start to end, flat at both: learning rates."""
    return end + (start - end) * (1 + math.cos(math.pi * t)) / 2


def quadratic(start: float, t: float) -> float:
    """Return start * (1 - t)^2, exactly 0 at t >= 1: the temperature of the discrete search."""
    return start * max(0.0, 1 - t) ** 2


SECONDS_MIN = 1e-9  # of a budget that is spent: it has to be positive


@dataclass
class Clock:
    """Counter of steps and seconds against a budget of both.

    Attributes:
        iters: budget of steps; 0 is spent from the start.
        time_budget: budget of seconds; None has no limit.
        device: whose pending work counts: reading seconds waits for it.
        begin: reading of the monotonic clock at the start.
        step: steps done.
    """

    iters: int
    time_budget: float | None
    device: torch.device | None = None
    begin: float = field(default_factory=time.monotonic)
    step: int = 0

    def resume(self, step: int, seconds: float) -> None:
        """Go on from a step, after so many seconds that were spent before."""
        self.step, self.begin = step, self.begin - seconds

    @property
    def on_gpu(self) -> bool:
        """Tell whether reading seconds waits for a GPU."""
        return self.device is not None and self.device.type == "cuda"

    @property
    def seconds(self) -> float:
        """Wall time since the clock was made, and what was spent before it went on."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)
        return time.monotonic() - self.begin

    @property
    def left(self) -> float | None:
        """Seconds until the budget is spent, more than 0 even then; None has no limit."""
        return None if self.time_budget is None else max(SECONDS_MIN, self.time_budget - self.seconds)

    @property
    def t(self) -> float:
        """Fraction of the budget that is spent, of steps or of seconds, whichever is more; 1 or more at the end."""
        done = self.step / self.iters if self.iters else 1.0
        return done if self.time_budget is None else max(done, self.seconds / self.time_budget)


class StepCounter:
    """Counter of the steps of several runs in a row.

    Attributes:
        total: steps of all runs.
    """

    def __init__(self, progress: Callable[[int], None]) -> None:
        """Count for `progress`, which is called with the total after each step."""
        self.progress, self.total = progress, 0

    def next_run(self) -> Callable[[int], None]:
        """Return the progress function of the next run, to be called with the number of each of its steps."""
        before = self.total

        def count(step: int) -> None:
            self.total = before + step
            self.progress(self.total)

        return count
