"""Goals of pictures that may have exact blocks: a size or quality of the whole file is met by what is not exact."""

from dataclasses import replace

from codec.architecture import QUALITY_LAST
from codec.arithmetic import coding_arithmetic
from codec.errors import ConfigError
from codec.exact_choice import Costs, hoped_costs
from codec.images.mosaic import Mask
from codec.images.pixels import Pixels
from codec.tiling import tile_side
from rdo.distortion import Distortion
from rdo.encoded import EncodedPicture
from rdo.encoding import encode_pictures
from rdo.exact_part import exact_part
from rdo.exact_plan import ExactPlan, ExactTask
from rdo.measurement import Measurement
from rdo.plain_quality import find_plain_quality
from rdo.schedules import Clock
from rdo.target import Goal


def meet(task: ExactTask, pixels: Pixels, goal: Goal) -> EncodedPicture:
    """Encode a picture to meet a goal; a lossless file meets every one that it is no larger for.

    Raises:
        ConfigError: nothing meets the goal.
    """
    hoped = hoped_costs(pixels)
    plan = task.plan(pixels, hoped)
    if plan is None:
        return to_goal(task, pixels, goal)
    lossless = replace(task, quality=QUALITY_LAST).with_usual_lmbda.lossless(pixels)
    if goal.kind == "bytes" and len(lossless.file.data) <= goal.value:
        return lossless
    try:
        found = _with_exact(task, pixels, goal, plan, hoped)
    except ConfigError:
        if not plan.done or goal.kind == "bytes":
            raise
        return lossless  # smaller than what misses the goal, and of the highest quality
    return lossless if len(lossless.file.data) <= len(found.file.data) else found


def to_goal(task: ExactTask, pixels: Pixels, goal: Goal, distortion: Distortion | None = None) -> EncodedPicture:
    """Encode a picture by the networks alone, to meet a goal."""
    tune = task.tune if distortion is None else replace(task.tune, distortion=distortion)
    [encoded] = encode_pictures(
        task.codec, [pixels], tune=tune, goal=goal, config=task.config, progress=task.progress,
        tile=task.tile, boxes=task.boxes, store=task.store,
    )  # fmt: skip
    return encoded


def _with_exact(task: ExactTask, pixels: Pixels, goal: Goal, plan: ExactPlan, hoped: Costs) -> EncodedPicture:
    """Encode a picture to meet a goal, with the exact blocks that pay at the quality that plain encoding needs."""
    near = replace(task, quality=_plain_quality(task, pixels, goal, plan.mask))
    plan = near.with_usual_lmbda.plan(pixels, hoped) or plan
    if plan.mask is None:
        return to_goal(task, pixels, goal)
    part = exact_part(task.codec, pixels, plan.mask, task.tune.distortion)
    found = to_goal(task, part.rest, part.goal_of_rest(goal), part.distortion)
    file, plain = (part.completed(each, plan.distortion) for each in (found.file, found.plain))
    return replace(found, file=file, plain=plain)


def _plain_quality(task: ExactTask, pixels: Pixels, goal: Goal, mask: Mask | None) -> float:
    """Return the quality at which plain encoding is nearest to a goal, with the exact blocks of a mask."""
    rest, distortion = pixels, task.tune.distortion
    if mask is not None:
        part = exact_part(task.codec, pixels, mask, distortion)
        rest, distortion, goal = part.rest, part.distortion, part.goal_of_rest(goal)
    tile = tile_side(task.codec, rest.width, rest.height, task.tile)
    with coding_arithmetic():
        measurement = Measurement(task.codec, rest, goal, Clock(1, None, task.codec.device), tile, distortion)
        return find_plain_quality(measurement, goal.aim)[0]
