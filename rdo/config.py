"""What a refinement may be told: method, number of steps, rates, temperatures.

Every schedule is a function of t = step / iters, the fraction of the budget that is spent.
"""

from dataclasses import dataclass
from typing import Literal

Method = Literal["auto", "ste", "sga"]


@dataclass(frozen=True)
class RefineConfig:
    """Settings of one refinement; defaults chosen by short trials on tuning crops, 100 steps.

    Attributes:
        iters: optimisation steps; 0 is plain encoding.
        method: relaxation of rounding; `auto` takes the one that gains most at this number of steps.
        lr_y, lr_z: Adam's rates for y and z at the start, in quantisation steps.
        lr_end: the rates' last value as a fraction of their first.
        temperature_start, temperature_end: of the relaxation.
        beta1, beta2: Adam's averages; short runs want a beta2 that warms up within them.
        checks: how often the true rounded cost is looked at in the second half of the run, besides at its end.
        patience: stop after this many looks without a better one; 0 never stops.
        time_budget: seconds after which the run stops, with schedules compressed to fit; None has no limit.
        seed: of the relaxation's noise.
    """

    iters: int = 100
    method: Method = "auto"
    lr_y: float = 5e-2
    lr_z: float = 1e-2
    lr_end: float = 0.1
    temperature_start: float = 0.8
    temperature_end: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.99
    checks: int = 10
    patience: int = 0
    time_budget: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.iters < 0 or self.checks < 1 or self.patience < 0:
            raise ValueError("iters and patience must be at least 0, checks at least 1")
        if min(self.lr_y, self.lr_z, self.lr_end, self.temperature_start, self.temperature_end) <= 0:
            raise ValueError("learning rates and temperatures must be positive")
        if not (0 <= self.beta1 < 1 and 0 <= self.beta2 < 1):
            raise ValueError("beta1 and beta2 must lie in [0, 1)")
        if self.time_budget is not None and self.time_budget <= 0:
            raise ValueError(f"time_budget {self.time_budget}: must be positive")
