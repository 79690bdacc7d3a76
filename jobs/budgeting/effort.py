"""Planning of a budget of time in rounds, by looks at the pictures: steps go where they gain most a second.

A look is an encoding of the middle of a picture, with few steps, which is not kept: it tells what the picture gains and
costs, and how long a step takes. The pictures are then planned and encoded in groups, a few short ones and then the
longest first, each group with the time that is then left.

The invariant: plans are a function of records and of the budget. No clock is read here: seconds are those that workers
took for pictures, so that a run which is resumed, on whatever machine, plans as if it had gone on.
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from jobs.budgeting.decision import Decision, Plan
from jobs.record import Record
from rdo.step_allocation import Prospect, allocate_steps, gained, seconds_of

FIXED = 6.0  # cost of an encoding besides its steps, in steps, where it was not measured
FIXED_MIN, FIXED_MAX = 1.0, 40.0
SPEED_MAX = 10.0  # factor between the seconds of looks and of files, either way
FIRST_GROUP = 0.05  # of the planned seconds, as they are known from looks alone
GROUP = 0.6  # of the planned seconds, in groups after it
LAST_GROUP = 0.15  # of the budget: a rest below it is one group
LAST_ROUND = 6


class Timed(NamedTuple):
    """Encoding as measured: steps, seconds, pixels, and cost before refinement and its fall, in bits."""

    steps: int
    seconds: float
    pixels: int
    cost: float
    gain: float


def timed(record: Record) -> Timed:
    """Return what a record tells of seconds and gain; a clock that ran backwards took next to no time."""
    found = record.measured
    pixels = found.width * found.height
    seconds, steps = max(1e-6, record.seconds or 0.0), record.iters_asked or 0
    return Timed(steps, seconds, pixels, found.plain.cost * pixels, (found.plain.cost - found.refined.cost) * pixels)


@dataclass(frozen=True)
class Looks:
    """Pictures that share the time, and looks at them.

    Attributes:
        pixels: number of pixels of each picture, by its input, in order; from its header, so 0 where unknown.
        found: looks at each picture; none at those that could not be encoded, or where looks took too much time.
        half: steps after which a picture has gained half of what it can.
    """

    pixels: Mapping[str, int]
    found: Mapping[str, Sequence[Timed]]
    half: float

    @property
    def seconds(self) -> float:
        """Seconds that workers took for the looks."""
        return math.fsum(look.seconds for looks in self.found.values() for look in looks)

    @cached_property
    def fixed(self) -> float:
        """Cost of an encoding besides its steps, in steps."""
        return fixed_steps(look for looks in self.found.values() for look in looks)

    @cached_property
    def prospects(self) -> dict[str, Prospect]:
        """Return what each picture may gain, in bits, and its seconds a step; those without a look are average ones.

        The limit of a picture's gain is half what its look gained, half what it costs at the mean gain of all looks: a
        look is short, and may find nothing where more steps would.
        """
        last = {name: looks[-1] for name, looks in self.found.items() if looks}
        if not last:
            return {name: Prospect(max(1, pixels), 1e-6 * max(1, pixels)) for name, pixels in self.pixels.items()}
        own = {name: max(0.0, look.gain) / gained(look.steps, self.half) for name, look in last.items()}
        # where no look gained anything, by cost alone
        share = math.fsum(own.values()) / max(1e-9, math.fsum(look.cost for look in last.values())) or 1.0
        limit = {name: (own[name] + share * look.cost) / 2 / look.pixels for name, look in last.items()}
        step_s = {name: look.seconds / (self.fixed + look.steps) / look.pixels for name, look in last.items()}
        usual = statistics.fmean(limit.values()), statistics.median(step_s.values())
        each = {name: (limit.get(name, usual[0]), step_s.get(name, usual[1])) for name in self.pixels}
        return {name: Prospect(*(max(1, self.pixels[name]) * value for value in each[name])) for name in each}


def fixed_steps(looks: Iterable[Timed]) -> float:
    """Return what an encoding takes besides its steps, in steps, by a line through seconds a pixel against steps."""
    found = list(looks)
    if len({each.steps for each in found}) < 2:
        return FIXED
    weights = [math.sqrt(each.pixels) for each in found]
    step, rest = np.polyfit([t.steps for t in found], [t.seconds / t.pixels for t in found], 1, w=weights)
    return float(min(max(rest / step, FIXED_MIN), FIXED_MAX)) if step > 0 else FIXED


def next_decision(looks: Looks, before: Decision, files: Mapping[str, Record]) -> Decision | None:
    """Return the plans with those of the next group, None where all pictures have plans.

    Args:
        looks: pictures and what is known of them.
        before: plans so far, and the budget.
        files: records of the files that are there; a picture with a plan and no file has failed.
    """
    names = [name for name in looks.pixels if name not in before.plans]
    if not names:
        return None
    now = replace(before, round=before.round + 1, spent_s=spent_by_now(before, files))
    steps = _group(looks, now, names, speed(looks, before, files))
    plans = {name: Plan(0.0, iters=count, round=now.round) for name, count in steps.items()}
    return replace(now, plans={**before.plans, **plans})


def spent_by_now(decision: Decision, files: Mapping[str, Record]) -> float:
    """Return the seconds that workers took for all files of a decision."""
    last = {name for name, plan in decision.plans.items() if plan.round == decision.round}
    return decision.spent_s + math.fsum(each.seconds for name, each in _made(decision, files).items() if name in last)


def speed(looks: Looks, decision: Decision, files: Mapping[str, Record]) -> float:
    """Return the seconds that files took, as a multiple of what looks told; 1 before there are any."""
    made = _made(decision, files)
    told = math.fsum(looks.prospects[name].step_s * (looks.fixed + each.steps) for name, each in made.items())
    factor = math.fsum(each.seconds for each in made.values()) / told if told else 1.0
    return min(max(factor, 1 / SPEED_MAX), SPEED_MAX)


def _made(decision: Decision, files: Mapping[str, Record]) -> dict[str, Timed]:
    """Return the files that were made by their plans; those of earlier runs, with more steps, took none of the time."""
    return {
        name: timed(files[name])
        for name, plan in decision.plans.items()
        if name in files and files[name].iters_asked == plan.iters
    }


def _group(looks: Looks, now: Decision, names: list[str], factor: float) -> dict[str, int]:
    """Return the steps of those pictures that come next: the longest, or all where little is left of the time.

    The first group is of the shortest, as seconds that are known from looks alone may be wrong by much.
    """
    budget = (now.seconds or 0.0) * now.workers
    left = budget - looks.seconds - now.spent_s
    prospects = [Prospect(p.limit, p.step_s * factor) for p in (looks.prospects[name] for name in names)]
    steps = allocate_steps(prospects, left, half=looks.half, fixed=looks.fixed)
    seconds = [seconds_of([p], [n], looks.fixed) for p, n in zip(prospects, steps, strict=True)]
    order = sorted(range(len(names)), key=lambda i: (seconds[i] if now.round == 1 else -seconds[i], i))
    total = math.fsum(seconds)
    if len(names) > now.workers and total > LAST_GROUP * budget and now.round < LAST_ROUND:
        # the time may yet suffice for the others, where looks told wrong
        order = [i for i in order if steps[i]] or order[: now.workers]
        sums = np.cumsum([seconds[i] for i in order])
        fraction = FIRST_GROUP if now.round == 1 else GROUP
        order = order[: max(now.workers, 1 + int(np.searchsorted(sums, fraction * total)))]
    return {names[i]: steps[i] for i in order}
