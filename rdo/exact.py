"""Pictures to the bytes of refined files, exact blocks among them where those cost less.

    plain   <- plain encoding by the networks
    blocks  <- those that cost less losslessly, under the picture's own lmbda and distortion (`codec.exact_choice`)
    rest    <- the picture, smoothly filled where exact;  refined by a distortion that does not see those pixels
    file    <- the cheapest of plain, the refined rest with the exact blocks, and a lossless file

Only pictures that a few probes show to be none of the usual photographs are encoded plainly first; the others take no
notice. The invariant: no file costs more than that of plain encoding by the networks, nor than a lossless one.
"""

from dataclasses import dataclass, replace

import torch

from codec.architecture import QUALITY_LAST
from codec.bitstream.boxes import Box
from codec.bitstream.tiles import TILE
from codec.coding import coding_arithmetic, no_latents
from codec.encoding import estimate, worth_a_look
from codec.errors import ConfigError
from codec.exact_choice import ExactMode, block_errors, check_mode, choose_blocks, hoped_costs, may_pay, plain_costs
from codec.images.mosaic import Mask
from codec.images.pixels import Pixels
from codec.interface import AnyCodec
from codec.tiling import tile_side
from rdo.config import RefineConfig
from rdo.distortion import Distortion
from rdo.encoded import EncodedPicture, PricedFile
from rdo.encoding import encode_pictures
from rdo.exact_part import PictureDistortion, exact_part, whole_file
from rdo.measurement import Measurement
from rdo.objective import Cost
from rdo.plain_quality import find_plain_quality
from rdo.refinement import Progress, Refined
from rdo.resuming import Store
from rdo.schedules import Clock
from rdo.target import Goal
from rdo.tune import Tune

# of what is learned, cost that refinement is expected to save: of the mse and MS-SSIM, and more of SSIMULACRA 2
REFINEMENT_GAIN, REFINEMENT_GAIN_VISUAL = 0.07, 0.4
CLEAR_GAIN = 0.3  # share of the cost that exact blocks save, below which the picture without them is refined, too


@dataclass(frozen=True, eq=False)
class ExactPlan:
    """Plan of which blocks of a picture to store exactly.

    Attributes:
        plain: plain encoding by the networks.
        distortion: of the picture.
        gain: 1 - cost over that of the networks alone, both as they are expected to be once refined.
        mask: (rows, columns) of 64 px blocks to store exactly; None where no part pays.
        whole: the lossless file where it costs little more than others, else None.
        done: whether that file costs less than any other is expected to.
    """

    plain: EncodedPicture
    distortion: PictureDistortion
    gain: float
    mask: Mask | None
    whole: PricedFile | None
    done: bool


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
    if exact == "never":
        return encode_pictures(
            codec, pictures, tune=tune, quality=quality, lmbda=lmbda, goal=goal, config=config, progress=progress,
            tile=tile, boxes=boxes, store=store,
        )  # fmt: skip
    quality = codec.default_quality if quality is None else quality
    lmbda = codec.lmbda_of(quality) if lmbda is None else lmbda
    task = _Task(codec, tune, quality, lmbda, config, progress, tile, boxes, store)
    if exact == "all":
        return [task.lossless(pixels) for pixels in pictures]
    if goal is not None:
        [pixels] = pictures
        return [task.meet(pixels, goal)]
    plans = {index: plan for index, pixels in enumerate(pictures) if (plan := task.plan(pixels)) is not None}
    usual = [index for index in range(len(pictures)) if index not in plans]
    encoded = dict(zip(usual, task.learned([pictures[index] for index in usual]), strict=True))
    encoded |= {index: task.follow(plan, pictures[index]) for index, plan in plans.items()}
    return [encoded[index] for index in range(len(pictures))]


@dataclass(frozen=True)
class _Task:
    """Settings that all pictures of a call share."""

    codec: AnyCodec
    tune: Tune
    quality: float
    lmbda: float
    config: RefineConfig
    progress: Progress
    tile: int
    boxes: tuple[Box, ...]
    store: Store | None

    def learned(self, pictures: list[Pixels], distortion: Distortion | None = None) -> list[EncodedPicture]:
        """Encode pictures by the networks alone."""
        if not pictures:
            return []
        tune = self.tune if distortion is None else replace(self.tune, distortion=distortion)
        return encode_pictures(
            self.codec, pictures, tune=tune, quality=self.quality, lmbda=self.lmbda,
            config=self.config, progress=self.progress, tile=self.tile, boxes=self.boxes, store=self.store,
        )  # fmt: skip

    def lossless(self, pixels: Pixels) -> EncodedPicture:
        """Encode a picture as exact blocks alone."""
        file = whole_file(self.codec, pixels, self.quality, self.boxes)
        latents, none = no_latents(self.codec, pixels.width, pixels.height), Cost(*(3 * (torch.zeros(1),)))
        distortion, method = self.tune.distortion, self.config.method
        refined = Refined(latents, latents, none, none, distortion, method, iters=0, seconds=0.0)
        return EncodedPicture(file, file, self.quality, self.lmbda, refined)

    def plan(self, pixels: Pixels) -> ExactPlan | None:
        """Choose what of a picture is to be exact; None where nothing pays, as on photographs."""
        hoped, level = hoped_costs(pixels), self.codec.level(self.quality)
        if not worth_a_look(self.codec, pixels, hoped, level, self.lmbda):
            return None
        [plain] = replace(self, config=replace(self.config, iters=0)).learned([pixels])
        distortion, lmbda_pixels = self.distortion(pixels, plain), self.lmbda * pixels.width * pixels.height
        weight = distortion.metric.weight
        weights = None if weight is None else weight[0, 0].cpu().numpy()
        errors = block_errors(pixels, plain.file.pixels, weights)
        kept = self.kept_cost
        y = plain.refined.plain.y
        costs = plain_costs(y, len(plain.file.data), errors, lmbda_pixels * plain.file.distortion).scaled(kept)
        if not may_pay(hoped, costs):
            return None

        def cost(mask: Mask) -> float:
            found = estimate(self.codec, pixels, mask, level, tile=distortion.tile)
            learned = found.learned_bits_est + lmbda_pixels * distortion.of(found.decoded)
            return found.section_bits + kept * learned

        choice = choose_blocks(pixels, costs, hoped, cost)
        done = choice.mask is not None and bool(choice.mask.all())
        whole = whole_file(self.codec, pixels, self.quality, self.boxes) if choice.whole_close else None
        part = None if done else choice.mask
        if part is None and whole is None:
            return None
        return ExactPlan(plain, distortion, 1 - choice.cost / costs.total, part, whole, done)

    def distortion(self, pixels: Pixels, plain: EncodedPicture) -> PictureDistortion:
        """Return the distortion of a picture, fitted to it by its plain encoding."""
        tile = tile_side(self.codec, pixels.width, pixels.height, self.tile)
        return PictureDistortion(self.codec, pixels, tile, plain.refined.distortion)

    @property
    def kept_cost(self) -> float:
        """Cost that refinement is expected to leave of what is learned, as a fraction."""
        if not self.config.iters:
            return 1.0
        visual = self.tune.distortion.visual_share
        return 1 - REFINEMENT_GAIN * (1 - visual) - REFINEMENT_GAIN_VISUAL * visual

    def follow(self, plan: ExactPlan, pixels: Pixels) -> EncodedPicture:
        """Encode a picture with the exact blocks of a plan, and return the cheapest file."""
        plain, refined, encoded = [plan.plain.file], list[PricedFile](), plan.plain
        if plan.whole is not None:
            plain.append(plan.whole)
        if plan.mask is not None:
            part = exact_part(self.codec, pixels, plan.mask, self.tune.distortion)
            twice = bool(self.config.iters) and plan.gain < CLEAR_GAIN  # what refinement gains may be more
            task = self.with_half_the_time if twice else self
            [encoded] = task.learned([part.rest], part.distortion)
            plain.append(part.completed(encoded.plain, plan.distortion))
            refined.append(part.completed(encoded.file, plan.distortion))
            if twice:
                refined.append(task.learned([pixels])[0].file)
        elif not plan.done:
            [encoded] = self.learned([pixels])
            refined.append(encoded.file)
        file, cheapest_plain = (
            min(files, key=lambda each: each.cost(self.lmbda)) for files in (plain + refined, plain)
        )
        return EncodedPicture(file, cheapest_plain, self.quality, self.lmbda, encoded.refined)

    def meet(self, pixels: Pixels, goal: Goal) -> EncodedPicture:
        """Encode a picture to meet a goal; a lossless file meets every one that it is no larger for.

        Raises:
            ConfigError: nothing meets the goal.
        """
        plan = self.plan(pixels)
        if plan is None:
            return self.to_goal(pixels, goal)
        lossless = replace(self, quality=QUALITY_LAST).with_usual_lmbda.lossless(pixels)
        if goal.kind == "bytes" and len(lossless.file.data) <= goal.value:
            return lossless
        try:
            found = self.to_goal_with_exact(pixels, goal, plan)
        except ConfigError:
            if not plan.done or goal.kind == "bytes":
                raise
            return lossless  # smaller than what misses the goal, and of the highest quality
        return lossless if len(lossless.file.data) <= len(found.file.data) else found

    def to_goal(self, pixels: Pixels, goal: Goal, distortion: Distortion | None = None) -> EncodedPicture:
        """Encode a picture by the networks alone, to meet a goal."""
        tune = self.tune if distortion is None else replace(self.tune, distortion=distortion)
        [encoded] = encode_pictures(
            self.codec, [pixels], tune=tune, goal=goal, config=self.config, progress=self.progress,
            tile=self.tile, boxes=self.boxes, store=self.store,
        )  # fmt: skip
        return encoded

    def to_goal_with_exact(self, pixels: Pixels, goal: Goal, plan: ExactPlan) -> EncodedPicture:
        """Encode a picture to meet a goal, with the exact blocks that pay at the quality that plain encoding needs."""
        near = replace(self, quality=self.plain_quality(pixels, goal, plan.mask))
        plan = near.with_usual_lmbda.plan(pixels) or plan
        if plan.mask is None:
            return self.to_goal(pixels, goal)
        part = exact_part(self.codec, pixels, plan.mask, self.tune.distortion)
        found = self.to_goal(part.rest, part.goal_of_rest(goal), part.distortion)
        file, plain = (part.completed(each, plan.distortion) for each in (found.file, found.plain))
        return replace(found, file=file, plain=plain)

    @property
    def with_half_the_time(self) -> "_Task":
        """Task whose refinement has half the seconds, where these are limited."""
        return replace(
            self, config=replace(self.config, time_budget=self.config.time_budget and self.config.time_budget / 2)
        )

    @property
    def with_usual_lmbda(self) -> "_Task":
        """Task whose lmbda suits its quality."""
        return replace(self, lmbda=self.codec.lmbda_of(self.quality))

    def plain_quality(self, pixels: Pixels, goal: Goal, mask: Mask | None) -> float:
        """Return the quality at which plain encoding is nearest to a goal, with the exact blocks of a mask."""
        rest, distortion = pixels, self.tune.distortion
        if mask is not None:
            part = exact_part(self.codec, pixels, mask, distortion)
            rest, distortion, goal = part.rest, part.distortion, part.goal_of_rest(goal)
        tile = tile_side(self.codec, rest.width, rest.height, self.tile)
        with coding_arithmetic():
            measurement = Measurement(self.codec, rest, goal, Clock(1, None, self.codec.device), tile, distortion)
            return find_plain_quality(measurement, goal.aim)[0]
