"""Pictures to the bytes of refined files, exact blocks among them where those cost less.

    plain   <- plain encoding by the networks
    blocks  <- those that cost less losslessly, under the picture's own lmbda and distortion (`codec.exact_choice`)
    rest    <- the picture, smoothly filled where exact;  refined by a distortion that does not see those pixels
    file    <- the cheapest of plain, the refined rest with the exact blocks, and a lossless file

Only pictures that a few probes show to be none of the usual photographs are encoded plainly first; the others take no
notice. The invariant: no file costs more than that of plain encoding by the networks, nor than a lossless one.
"""

from dataclasses import replace

from codec.bitstream.boxes import Box
from codec.bitstream.tiles import TILE
from codec.exact_choice import Costs, ExactMode, check_mode, hoped_costs
from codec.images.pixels import Pixels
from codec.interface import AnyCodec
from rdo.config import RefineConfig
from rdo.encoded import EncodedPicture, PricedFile
from rdo.exact_part import exact_part, whole_file
from rdo.exact_plan import ExactPlan, ExactTask
from rdo.exact_target import meet, to_goal
from rdo.refinement import Progress
from rdo.resuming import Store
from rdo.target import Goal
from rdo.tune import Tune

CLEAR_GAIN = 0.3  # share of the cost that exact blocks save, below which the picture without them is refined, too


def encode_files(
    codec: AnyCodec,
    pictures: list[Pixels],
    *,
    tune: Tune,
    quality: float | None = None,
    lmbda: float | None = None,
    goal: Goal | None = None,
    config: RefineConfig,
    exact: ExactMode = "auto",
    progress: Progress = lambda step: None,
    tile: int = TILE,
    boxes: tuple[Box, ...] = (),
    store: Store | None = None,
) -> list[EncodedPicture]:
    """Encode pictures of one shape to refined, verified files, with exact blocks where these cost less.

    Args:
        codec: frozen codec.
        pictures: one alone where there is a goal.
        tune: distortion and gain profiles.
        quality, lmbda: None takes the codec's default, and what suits the quality; a goal settles both.
        goal: size or quality that the file shall have.
        config: of the refinement; its time budget is that of one picture.
        exact: `auto`; `all` makes lossless files, `never` leaves all to the networks.
        progress: called with the number of each step.
        tile: side in pixels of the tiles that a large picture is cut into, 0 cuts none.
        boxes: of each file.
        store: of one picture, place that the state of its refinement is saved in, and gone on from.

    Raises:
        ConfigError: a quality that the codec does not have, a goal that none meets, or one for a lossless file.
    """
    check_mode(exact, goal is not None)
    quality = codec.default_quality if quality is None else quality
    lmbda = codec.lmbda_of(quality) if lmbda is None else lmbda
    task = ExactTask(codec, tune, quality, lmbda, config, progress, tile, boxes, store)
    if exact == "all":
        return [task.lossless(pixels) for pixels in pictures]
    if goal is not None:
        [pixels] = pictures
        return [to_goal(task, pixels, goal) if exact == "never" else meet(task, pixels, goal)]
    return task.learned(pictures) if exact == "never" else _cheapest(task, pictures)


def _cheapest(task: ExactTask, pictures: list[Pixels]) -> list[EncodedPicture]:
    """Encode pictures to the cheapest files; those that no exact block pays for are refined together."""
    hoped = [hoped_costs(pixels) for pixels in pictures]
    plans = [task.plan(*each) for each in zip(pictures, hoped, strict=True)]
    usual = iter(task.learned([pixels for pixels, plan in zip(pictures, plans, strict=True) if plan is None]))
    encoded = []
    for pixels, costs, plan in zip(pictures, hoped, plans, strict=True):
        found = next(usual) if plan is None else _follow(task, plan, pixels)
        has_lossless = plan is not None and plan.whole is not None
        encoded.append(found if has_lossless else _or_lossless(task, found, pixels, costs))
    return encoded


def _follow(task: ExactTask, plan: ExactPlan, pixels: Pixels) -> EncodedPicture:
    """Encode a picture with the exact blocks of a plan, and return the cheapest file."""
    plain, refined, encoded = [plan.plain.file], list[PricedFile](), plan.plain
    if plan.whole is not None:
        plain.append(plan.whole)
    if plan.mask is not None:
        part = exact_part(task.codec, pixels, plan.mask, task.tune.distortion)
        twice = bool(task.config.iters) and plan.gain < CLEAR_GAIN  # what refinement gains may be more
        own = _with_half_the_time(task) if twice else task
        [encoded] = own.learned([part.rest], part.distortion)
        plain.append(part.completed(encoded.plain, plan.distortion))
        refined.append(part.completed(encoded.file, plan.distortion))
        if twice:
            refined.append(own.learned([pixels])[0].file)
    elif not plan.done:
        [encoded] = task.learned([pixels])
        refined.append(encoded.file)
    file, cheapest_plain = (min(files, key=lambda each: each.cost(task.lmbda)) for files in (plain + refined, plain))
    return EncodedPicture(file, cheapest_plain, task.quality, task.lmbda, encoded.refined)


def _with_half_the_time(task: ExactTask) -> ExactTask:
    """Return the task with half the seconds of refinement, where these are limited."""
    return replace(
        task, config=replace(task.config, time_budget=task.config.time_budget and task.config.time_budget / 2)
    )


def _or_lossless(task: ExactTask, encoded: EncodedPicture, pixels: Pixels, hoped: Costs) -> EncodedPicture:
    """Return the lossless file in the place of one that costs more, as where refinement gained less than expected.

    Args:
        hoped: costs of a picture (`codec.exact_choice.hoped_costs`), by which photographs need no lossless file.
    """
    if float(hoped.sum()) > encoded.file.cost(task.lmbda) * pixels.width * pixels.height:
        return encoded
    whole = whole_file(task.codec, pixels, task.quality, task.boxes)
    file, plain = (min(each, whole, key=lambda file: file.cost(task.lmbda)) for each in (encoded.file, encoded.plain))
    return replace(encoded, file=file, plain=plain)
