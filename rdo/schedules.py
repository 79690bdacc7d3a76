"""Schedules as functions of t, the fraction 0..1 of the budget that is spent, and the clock that gives it.

None knows a number of steps.
"""

import math
import time
from dataclasses import dataclass, field

import torch


def geometric(start: float, end: float, t: float) -> float:
    """start * (end / start)^t: temperatures, shares."""
    return start * (end / start) ** t


def cosine(start: float, end: float, t: float) -> float:
    """Half a cosine from start to end, flat at both: learning rates."""
    return end + (start - end) * (1 + math.cos(math.pi * t)) / 2


def falling(start: float, t: float) -> float:
    """start * (1 - t)^2, down to an exact zero at t = 1 and after: heat."""
    return start * max(0.0, 1 - t) ** 2


@dataclass
class Clock:
    """Counts steps and seconds against a budget of both; `t` is the fraction spent of whichever runs out first.

    Work that was only started on `device` counts when it is done: to ask for seconds is to wait for it.
    """

    iters: int
    time_budget: float | None
    device: torch.device | None = None
    begin: float = field(default_factory=time.monotonic)
    step: int = 0

    @property
    def seconds(self) -> float:
        """Wall time since the clock was made."""
        if self.device is not None and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.monotonic() - self.begin

    @property
    def left(self) -> float | None:
        """Seconds until the budget is spent, at least a moment; None has no limit."""
        return None if self.time_budget is None else max(1e-9, self.time_budget - self.seconds)

    @property
    def t(self) -> float:
        """0 at the start, 1 or more at the end."""
        done = self.step / self.iters if self.iters else 1.0
        return done if self.time_budget is None else max(done, self.seconds / self.time_budget)
