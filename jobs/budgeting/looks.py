"""Looks at pictures before a budget of time is shared out: the middle of each, encoded with few steps and not kept.

The invariant: a look is a record in the log of the output folder's measurements, so that none is made twice.
"""

import math
from collections.abc import Iterable
from dataclasses import replace

from codec.architecture import STRIDE
from codec.interface import AnyCodec
from jobs.budgeting.effort import Looks, Timed, timed
from jobs.budgeting.measuring import encode_unkept
from jobs.budgeting.planning import PILOT_FRACTION, PILOT_MAX, spread
from jobs.budgeting.time_budget import TimeBudget
from jobs.pools.base import Pool
from jobs.running.encode_settings import EncodeConfig
from jobs.running.progress import Part
from jobs.running.worklist import Item
from rdo.step_allocation import Prospect, seconds_of

STEPS, MORE_STEPS = 2, 8  # of a look; of a second one at a few pictures, which tells the seconds of a step
AREA = 1 / 16  # of a picture that is looked at
SIDE_MIN, SIDE_MAX = 192, 512  # pixels; MS-SSIM needs more than 160
# of the time, for looks at all pictures. What they are worth, by the estimated costs of eight Kodak pictures at a third
# of their size after 2 to 60 steps: shared out by each picture's own curve, 16 steps on average saved 0.60 points more
# of the cost than as many for all with `--tune visual`, 0.06 by the mse, and 2.3 with six drawn pictures among them. A
# tenth less time for all cost 0.7, 0.14 and 0.6 points
LOOKS_MAX = 0.03


def look_at(
    items: list[Item],
    codec: AnyCodec,
    config: EncodeConfig,
    budget: TimeBudget,
    *,
    folder: str,
    pool: Pool,
    workers: int,
) -> Looks:
    """Look at a few pictures, then at all others unless that took more than LOOKS_MAX of the time.

    Args:
        config: settings of the run; a target of each picture, and a mask of its size, do not count here.
        folder: output folder, which the log is kept in.
        workers: of the pool, which share the time.
    """
    base = replace(config, roi=None, target_bytes=None, target_bpp=None, target_psnr=None, target_ssimulacra2=None)
    few = spread([item.input for item in items], min(PILOT_MAX, -(-len(items) // PILOT_FRACTION)))
    found: dict[str, list[Timed]] = {}

    def look(some: Iterable[Item], *steps: int) -> None:
        wanted = {item: [_look(base, budget, item, count) for count in steps] for item in some}
        left_s = budget.seconds - Looks(pixels, found, half).seconds / workers
        part = Part(f"looks at {len(wanted)} of {len(items)} pictures", left_s=left_s)
        records, _ = encode_unkept(wanted, codec, config.policy, folder=folder, pool=pool, part=part)
        for item, own in records.items():
            found[item.input] = sorted(timed(record) for record in own if record.iters_asked)

    pixels, half = {item.input: item.pixels for item in items}, budget.half_steps
    # plain encoding first, which does not count: a worker's first one takes longer
    look([item for item in items if item.input in few], 0, STEPS, MORE_STEPS)
    first = Looks(pixels, dict(found), half)
    others = [item for item in items if item.input not in few]
    scale = [_side(item) ** 2 / max(1, item.pixels, _side(item) ** 2) for item in others]
    named = zip((first.prospects[item.input] for item in others), scale, strict=True)
    parts = [Prospect(p.limit, p.step_s * share) for p, share in named]
    if first.seconds + seconds_of(parts, [STEPS] * len(parts), first.fixed) <= LOOKS_MAX * budget.seconds * workers:
        look(others, STEPS)
    return Looks(pixels, found, half)


def _look(base: EncodeConfig, budget: TimeBudget, item: Item, steps: int) -> EncodeConfig:
    return replace(base, refine=budget.refine(steps), middle=_side(item))


def _side(item: Item) -> int:
    """Return the side of the square that is looked at, a multiple of the codec's stride."""
    return min(max(round(math.sqrt(AREA * item.pixels) / STRIDE) * STRIDE, SIDE_MIN), SIDE_MAX)
