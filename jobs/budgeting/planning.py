"""Planning of a budget in rounds: a pilot, all others at equal slope, then corrections of a few pictures.

    pilot         some pictures, at the slope that plain files would fill the budget at
    the others    at the slope that fills it, given what refinement changed in the pilot
    corrections   where the files written are above the budget, or over SHORT_MAX below: new sizes for as few pictures
                  as can make up for it, none over CHANGE_MAX from its size at one slope for all

The invariant: sizes given in a correction are ceilings, and with the files that stay they sum up to the budget at most.
All is a function of measurements and written files.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from codec.architecture import QUALITY_LAST
from jobs.budgeting.decision import Plan
from jobs.budgeting.measuring import Picture
from rdo.allocation import (
    Allocation,
    Change,
    Curve,
    Measured,
    allocate,
    change_between,
    changed,
    mean_change,
    operating_curve,
    point_at,
)

SHORT_MAX = 0.005  # of the budget that may be left
PILOT_FRACTION, PILOT_MAX = 8, 32  # one picture in so many, and the most
ALL_PILOT = 4  # pictures or fewer are all encoded at once
AIM = 0.9975  # of the budget that the first encoding of all pictures aims at
CHANGE_MAX = 0.1  # of the size at one slope for all: distance in a correction, if more pictures can share it
SAME = 0.001  # of a file's bytes: a smaller change is none
SLACK_BYTES = 8  # of a file: two words, what one latent may be worth
FLOOR_MARGIN = 0.25  # points above the floor that plans keep to
FLOOR_AIM = 0.5  # points above the floor that a correction aims at: what a target may miss by


class Share(NamedTuple):
    """Budget to be shared out.

    Attributes:
        pictures: all pictures that could be measured.
        limit_bytes: most bytes of all files.
        floor: least score, None for none.
        by_score: whether distortion is 100 minus SSIMULACRA 2, else that which refinement minimises, over all pixels.
        lmbda_of_slope: weight of the distortion in refinement that has the slope, a distortion per byte; None where
            each picture takes what suits its quality.
    """

    pictures: Sequence[Picture]
    limit_bytes: int
    floor: float | None
    by_score: bool
    lmbda_of_slope: Callable[[float], float | None]


Plans = dict[str, Plan]
Written = Mapping[str, Measured]  # points of the files that are there, by input


def next_plans(share: Share, plans: Mapping[str, Plan], written: Written) -> Plans | None:
    """Return the plans of the next round, None where nothing is left to be mended.

    Args:
        share: budget and pictures.
        plans: of the rounds before; a picture with a plan has a file in `written`, unless it failed.
        written: files that were made.

    Raises:
        ConfigError: the budget is too small even for plain files at the lowest quality, or for the floor.
    """
    if not plans:
        points = _planned(share, allocate(curves(share, {}), share.limit_bytes))
        pilot = _pilot([picture.item.input for picture in share.pictures])
        return {name: plan for name, plan in points.items() if name in pilot}
    if len(plans) < len(share.pictures):
        every = curves(share, written)
        return _planned(share, allocate(every, max(_least(every), AIM * share.limit_bytes))) | dict(plans)
    return _corrections(share, plans, written)


def curves(share: Share, written: Written) -> list[Curve]:
    """Return the operating curves of all pictures, changed as their own files were, or as the others' on average."""
    own = {
        picture.item.input: change_between(point_at(picture.measured, file.quality), file)
        for picture in share.pictures
        if (file := written.get(picture.item.input))
    }
    usual = mean_change(list(own.values()))
    floor = None if share.floor is None else share.floor + FLOOR_MARGIN
    return [_curve(picture, own.get(picture.item.input, usual), floor) for picture in share.pictures]


def is_short(share: Share, written: Written) -> bool:
    """Tell whether files leave more of the budget than SHORT_MAX."""
    return total_bytes(written) < _filled(share)


def _filled(share: Share) -> float:
    """Return the bytes from which on a budget counts as filled."""
    return (1 - SHORT_MAX) * share.limit_bytes - SLACK_BYTES * len(share.pictures)


def total_bytes(written: Written) -> int:
    """Return the bytes of all files."""
    return round(math.fsum(file.bytes for file in written.values()))


def below_floor(share: Share, written: Written) -> list[str]:
    """Return the inputs whose files are below the floor."""
    return [name for name, file in written.items() if share.floor is not None and file.score < share.floor]


def _curve(picture: Picture, change: Change, floor: float | None) -> Curve:
    return operating_curve(changed(picture.measured, change), floor)


def _pilot(names: list[str]) -> set[str]:
    """Return names of the pilot: spread evenly over all."""
    if len(names) <= ALL_PILOT:
        return set(names)
    return spread(names, min(PILOT_MAX, -(-len(names) // PILOT_FRACTION)))


def spread(names: Sequence[str], count: int) -> set[str]:
    """Return so many names, spread evenly over all; at most all."""
    return {names[(2 * i + 1) * len(names) // (2 * count)] for i in range(count)}


def _planned(share: Share, allocation: Allocation) -> Plans:
    """Return plans of all pictures at the slope of an allocation."""
    lmbda = share.lmbda_of_slope(allocation.slope) if allocation.slope else None
    named = zip(share.pictures, allocation.points, strict=True)
    return {picture.item.input: Plan(point.quality, lmbda) for picture, point in named}


def _least(all_curves: Sequence[Curve]) -> float:
    return math.fsum(float(curve.bytes[0]) for curve in all_curves)


def _corrections(share: Share, plans: Mapping[str, Plan], written: Written) -> Plans | None:
    """Return the plans with new goals for pictures below the floor, or for as few as bring the total to the budget."""
    movable = [name for name in written if not plans[name].settled]
    low = [name for name in below_floor(share, written) if name in movable and written[name].quality < QUALITY_LAST]
    if low and share.floor is not None:
        goal = share.floor + FLOOR_AIM
        return dict(plans) | {name: Plan(written[name].quality, target_ssimulacra2=goal) for name in low}
    if total_bytes(written) <= share.limit_bytes and not is_short(share, written):
        return None
    named = zip(share.pictures, curves(share, written), strict=True)
    curve_of = {p.item.input: curve for p, curve in named if p.item.input in movable}
    sizes = _new_sizes(share, curve_of, written)
    if not sizes:
        return None
    fill = max(0.99, 1 - 0.8 * SHORT_MAX * share.limit_bytes / sum(sizes.values()))
    new = {name: Plan(written[name].quality, target_bytes=size, target_fill=fill) for name, size in sizes.items()}
    return None if all(plans[name] == plan for name, plan in new.items()) else dict(plans) | new


def _new_sizes(share: Share, curve_of: Mapping[str, Curve], written: Written) -> dict[str, int]:
    """Return new sizes of as few files as bring the total to the budget; none where nothing can be gained."""
    if not curve_of:
        return {}
    stay = total_bytes(written) - sum(written[name].bytes for name in curve_of)
    wanted = _sizes(list(curve_of.values()), share.limit_bytes - stay)
    size_of = dict(zip(curve_of, wanted, strict=True))
    # those first that are furthest from their slope
    order = sorted(curve_of, key=lambda name: (-abs(math.log(size_of[name] / written[name].bytes)), name))
    count = 1
    while True:
        chosen = order[:count]
        rest = total_bytes(written) - sum(written[name].bytes for name in chosen)
        new = _sizes([curve_of[name] for name in chosen], share.limit_bytes - rest)
        sizes = {name: math.floor(size) for name, size in zip(chosen, new, strict=True)}
        largest = max(abs(size / size_of[name] - 1) for name, size in sizes.items())
        if count == len(order) or (largest <= CHANGE_MAX and sum(sizes.values()) + rest >= _filled(share)):
            return _worthwhile(share, sizes, written)
        count = min(2 * count, len(order))


def _worthwhile(share: Share, sizes: Mapping[str, int], written: Written) -> dict[str, int]:
    """Return the sizes that differ from those of the files there; below the budget, those that are larger by enough."""
    changes = {name: size - written[name].bytes for name, size in sizes.items() if size >= 1}
    if total_bytes(written) > share.limit_bytes:
        return {name: sizes[name] for name, change in changes.items() if change}
    return {n: sizes[n] for n, change in changes.items() if change > max(SAME * written[n].bytes, SLACK_BYTES)}


def _sizes(some: Sequence[Curve], budget: float) -> list[float]:
    """Return sizes at one slope that sum up to a budget; below the least bytes, all shrink alike."""
    least = _least(some)
    if budget < least:
        return [float(curve.bytes[0]) * max(0.0, budget) / least for curve in some]
    return [point.bytes for point in allocate(some, budget).points]
