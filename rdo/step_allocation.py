"""Allocation of one budget of seconds to many pictures: steps where they gain most a second.

The gain of n steps is taken to saturate, G(n) = A n / (n + h), with half of its limit A after h steps. The sum of gains
within a sum of seconds is greatest where all pictures gain alike in the next second:

    maximise  sum_i A_i n_i / (n_i + h)   subject to   sum_i s_i (f + n_i) <= T    =>    n_i + h  ~  sqrt(A_i / s_i)

with s seconds a step and f the cost of an encoding besides its steps, in steps. So differences between pictures count
by their root: one with four times the gain gets twice the steps. The invariant: steps are whole, and their seconds, as
predicted, stay within the budget.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

STEPS_MAX = 640  # of a picture, those of effort 9
# steps to half of the limit: medians of `small` on Kodak at a third of its size, 2 to 160 steps
HALF_SEARCH = 2.4  # of the discrete search for the mse
HALF_DESCENT = 14.0  # of the descent for the eye
HALVINGS = 60  # of the interval of log(scale)


@dataclass(frozen=True)
class Prospect:
    """Picture to share out seconds to.

    Attributes:
        limit: gain A of endless steps, in any unit that all pictures share; at least 0.
        step_s: seconds a step, more than 0.
    """

    limit: float
    step_s: float


def gained(steps: float, half: float) -> float:
    """Return the fraction of its limit that a picture has gained after so many steps."""
    return steps / (steps + half)


def allocate_steps(prospects: Sequence[Prospect], seconds: float, *, half: float, fixed: float) -> list[int]:
    """Return the steps that each picture is to be encoded with, 0 to STEPS_MAX.

    Args:
        prospects: pictures.
        seconds: for all of them together; where it does not suffice for a step of any, all have none.
        half: steps h to half of the limit.
        fixed: cost of an encoding besides its steps, in steps.
    """
    roots = [math.sqrt(each.limit / each.step_s) for each in prospects]
    if not any(roots):
        return [0] * len(roots)
    low = math.log(half / max(roots))  # nobody gets a step
    high = math.log((STEPS_MAX + half + 1) / min(root for root in roots if root))  # all get the most
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        steps = _steps_at(math.exp(middle), roots, half)
        low, high = (low, middle) if seconds_of(prospects, steps, fixed) > seconds else (middle, high)
    return _steps_at(math.exp(low), roots, half)


def seconds_of(prospects: Sequence[Prospect], steps: Sequence[int], fixed: float) -> float:
    """Return the seconds that encoding with these steps takes."""
    return math.fsum(p.step_s * (fixed + n) for p, n in zip(prospects, steps, strict=True))


def _steps_at(scale: float, roots: list[float], half: float) -> list[int]:
    """Return the steps where the gain of a second is h / scale^2."""
    return [min(STEPS_MAX, max(0, math.floor(scale * root - half))) for root in roots]
