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
AGAIN = 2  # times the steps of the file that is there: the fewest that are worth another encoding


@dataclass(frozen=True)
class Prospect:
    """Picture to share out seconds to.

    Attributes:
        limit: gain A of endless steps, in any unit that all pictures share; at least 0.
        step_s: seconds a step, more than 0.
        steps: of the file that is there, 0 for a plain one or none.
    """

    limit: float
    step_s: float
    steps: int = 0


def gained(steps: float, half: float) -> float:
    """Return the fraction of its limit that a picture has gained after so many steps."""
    return steps / (steps + half)


def allocate_steps(prospects: Sequence[Prospect], seconds: float, *, half: float, fixed: float) -> list[int | None]:
    """Return the steps that each picture is to be encoded with; None keeps the file that is there.

    A picture is encoded again only with AGAIN times the steps of its file, and at least one.

    Args:
        prospects: pictures.
        seconds: for all of them together; less than nothing is nothing.
        half: steps h to half of the limit.
        fixed: cost of an encoding besides its steps, in steps.
    """
    if not any(each.limit > 0 for each in prospects):
        return [None] * len(prospects)
    roots = [math.sqrt(each.limit / each.step_s) for each in prospects]
    low = math.log(half / max(roots))  # nobody gets a step
    high = math.log((STEPS_MAX + half + 1) / min(root for root in roots if root > 0))  # all get the most
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        steps = _steps_at(math.exp(middle), roots, prospects, half)
        low, high = (low, middle) if seconds_of(prospects, steps, fixed) > seconds else (middle, high)
    return _steps_at(math.exp(low), roots, prospects, half)


def seconds_of(prospects: Sequence[Prospect], steps: Sequence[int | None], fixed: float) -> float:
    """Return the seconds that encoding with these steps takes."""
    return math.fsum(p.step_s * (fixed + n) for p, n in zip(prospects, steps, strict=True) if n is not None)


def _steps_at(scale: float, roots: list[float], prospects: Sequence[Prospect], half: float) -> list[int | None]:
    """Return the steps where the gain of a second is 1 / scale^2, but for a constant."""
    wanted = [min(STEPS_MAX, math.floor(scale * root - half)) for root in roots]
    return [n if n >= max(1, AGAIN * p.steps) else None for n, p in zip(wanted, prospects, strict=True)]
