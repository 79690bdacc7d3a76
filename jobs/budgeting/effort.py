"""Planning of a budget of time in rounds: calibration, a look at all pictures, then steps where they gain most.

    calibration   one picture in some, with CALIBRATION steps: seconds of a step and of all else
    a look        all others, with LOOK steps, unless that took too much of the time: what each gains
    the rest      in groups, the longest first, each planned with the time that is then left

The invariant: plans are a function of records and of the budget. No clock is read here: seconds are those that workers
took for pictures, so that a run which is resumed, on whatever machine, plans as if it had gone on.
"""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from jobs.budgeting.decision import Decision, Plan
from jobs.budgeting.planning import PILOT_FRACTION, PILOT_MAX, spread
from jobs.record import Record
from rdo.step_allocation import Prospect, allocate_steps, gained
from rdo.step_allocation import seconds_of as seconds_of_steps

CALIBRATION, LOOK = 8, 2  # steps
LOOK_MAX = 0.2  # of the time that is left after the calibration
FIXED = 6.0  # cost of an encoding besides its steps, in steps, until it is measured
FIXED_MIN, FIXED_MAX = 1.0, 40.0
GROUP = 0.6  # of the planned seconds that is planned for good; the rest is planned again after it
LAST_GROUP = 0.15  # of the budget: a rest below it is planned for good
LAST_ROUND_OF_LOOKS, LAST_ROUND = 2, 6


class Timed(NamedTuple):
    """Encoding of a picture, as measured: steps, seconds, pixels, and cost before refinement and its fall, in bits."""

    steps: int
    seconds: float
    pixels: int
    cost: float
    gain: float


@dataclass(frozen=True)
class Shared:
    """Time and the pictures that share it.

    Attributes:
        pixels: number of pixels of each picture, by its input, in order; from its header, so 0 where unknown.
        half: steps after which a picture has gained half of what it can.
    """

    pixels: Mapping[str, int]
    half: float


def next_decision(shared: Shared, before: Decision, files: Mapping[str, Record]) -> Decision | None:
    """Return the plans of the next round, None where no picture is left to be planned.

    Args:
        shared: pictures.
        before: plans so far, and the budget.
        files: records of the files that are there; a picture with a plan and no file has failed.
    """
    names, number = list(shared.pixels), before.round + 1
    now = replace(before, round=number, spent_s=spent_by_now(before, files))
    if not before.plans:
        count = min(PILOT_MAX, -(-len(names) // PILOT_FRACTION))
        return replace(now, plans={name: Plan(0.0, iters=CALIBRATION, round=number) for name in spread(names, count)})
    timed = {name: timing(files[name]) for name in files}
    unseen = [name for name in names if name not in before.plans]
    budget = seconds_left(now)
    prospects = _prospects(shared, timed)
    if unseen and before.round < LAST_ROUND_OF_LOOKS:
        look = seconds_of_steps([prospects[name] for name in unseen], [LOOK] * len(unseen), fixed_steps(timed.values()))
        if look <= LOOK_MAX * budget:
            looks = {name: Plan(0.0, iters=LOOK, round=number) for name in unseen}
            return replace(now, plans={**before.plans, **looks})
    open_ones = [name for name in names if name in unseen or (name in files and not _is_final(before.plans[name]))]
    if not open_ones:
        return None
    now = replace(now, round=max(number, LAST_ROUND_OF_LOOKS + 1))
    return replace(
        now, plans={**before.plans, **_group(shared, now, open_ones, prospects, fixed_steps(timed.values()))}
    )


def spent_by_now(decision: Decision, files: Mapping[str, Record]) -> float:
    """Return the seconds that workers took for all rounds of a decision that have files."""
    last = [name for name, plan in decision.plans.items() if plan.round == decision.round and not plan.settled]
    made = [files[name] for name in last if name in files and files[name].iters_asked == decision.plans[name].iters]
    return decision.spent_s + math.fsum(max(0.0, record.seconds or 0.0) for record in made)


def seconds_left(decision: Decision) -> float:
    """Return the seconds of all workers that a budget has left."""
    return (decision.seconds or 0.0) * decision.workers - decision.spent_s


def timing(record: Record) -> Timed:
    """Return what a record tells of seconds and gain."""
    found = record.measured
    pixels = found.width * found.height
    seconds, steps = max(1e-6, record.seconds or 0.0), record.iters_asked or 0
    return Timed(steps, seconds, pixels, found.plain.cost * pixels, (found.plain.cost - found.refined.cost) * pixels)


def fixed_steps(timed: Iterable[Timed]) -> float:
    """Return what an encoding takes besides its steps, in steps, by a line through seconds a pixel against steps."""
    found = list(timed)
    if len({each.steps for each in found}) < 2:
        return FIXED
    weights = [math.sqrt(each.pixels) for each in found]
    step, rest = np.polyfit([t.steps for t in found], [t.seconds / t.pixels for t in found], 1, w=weights)
    return float(min(max(rest / step, FIXED_MIN), FIXED_MAX)) if step > 0 else FIXED


def _is_final(plan: Plan) -> bool:
    return plan.settled or plan.round > LAST_ROUND_OF_LOOKS


def _prospects(shared: Shared, timed: Mapping[str, Timed]) -> dict[str, Prospect]:
    """Return what each picture may gain, and its seconds a step; those not seen yet are taken for average ones.

    The limit of a picture's gain is half what its own gain tells, half what its cost does at the folder's mean gain: a
    look is short, and may find nothing where more steps would.
    """
    if not timed:
        return {name: Prospect(max(1, pixels), max(1, pixels) * 1e-6) for name, pixels in shared.pixels.items()}
    fixed = fixed_steps(timed.values())
    own = {name: max(0.0, t.gain) / gained(t.steps, shared.half) if t.steps else 0.0 for name, t in timed.items()}
    # where nothing was gained so far, by cost alone
    share = math.fsum(own.values()) / max(1e-9, math.fsum(t.cost for t in timed.values())) or 1.0
    found = {
        name: Prospect((own[name] + share * t.cost) / 2, t.seconds / (fixed + t.steps), t.steps)
        for name, t in timed.items()
    }
    mean = math.fsum(each.limit for each in found.values()) / math.fsum(t.pixels for t in timed.values())
    usual = statistics.median(found[name].step_s / t.pixels for name, t in timed.items())
    unseen = {name: max(1, pixels) for name, pixels in shared.pixels.items() if name not in timed}
    return found | {name: Prospect(mean * pixels, usual * pixels) for name, pixels in unseen.items()}


def _group(
    shared: Shared, now: Decision, names: list[str], prospects: Mapping[str, Prospect], fixed: float
) -> dict[str, Plan]:
    """Return plans of those pictures that are planned for good in this round: the longest, or all."""
    budget, each = seconds_left(now), [prospects[name] for name in names]
    steps = dict(zip(names, allocate_steps(each, budget, half=shared.half, fixed=fixed), strict=True))
    seconds = {n: prospects[n].step_s * (fixed + count) for n in names if (count := steps[n]) is not None}
    order = sorted(seconds, key=lambda name: (-seconds[name], name))
    total = math.fsum(seconds.values())
    lasting = total > LAST_GROUP * (now.seconds or 0.0) * now.workers and now.round < LAST_ROUND
    if lasting and len(order) > now.workers:
        sums = np.cumsum([seconds[name] for name in order])
        count = max(now.workers, 1 + int(np.searchsorted(sums, GROUP * total)))
        if count < len(order):
            return {name: Plan(0.0, iters=steps[name], round=now.round) for name in order[:count]}
    return {name: _last_plan(steps[name], now.plans.get(name), now.round) for name in names}


def _last_plan(steps: int | None, before: Plan | None, number: int) -> Plan:
    """Return a picture's last plan: its steps, or the file that it has, or plain encoding where it has none."""
    if steps is None and before is not None:
        return replace(before, settled=True)
    return Plan(0.0, iters=steps or 0, round=number)
