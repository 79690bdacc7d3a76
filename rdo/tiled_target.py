"""Target search for pictures of several tiles: what `rdo.target_search` does, with refinement tile by tile."""

from dataclasses import dataclass, replace

from codec.interface import Latents
from rdo.config import RefineConfig
from rdo.measurement import Measurement
from rdo.objective import Cost
from rdo.refinement import Progress, Refined
from rdo.resuming import Store
from rdo.schedules import Clock
from rdo.target import Goal
from rdo.target_search import PROBED_QUALITIES, meet
from rdo.tiled_picture import TiledPicture, TileStart
from rdo.tiles import refine_tiles
from rdo.trim import Continuation, OperatingPoint


@dataclass(frozen=True)
class ContinuedTiles(Continuation):
    """Continuation of the refinement of a picture of several tiles."""

    picture: TiledPicture

    def search(
        self, latents: Latents, lmbda: float, *, config: RefineConfig, clock: Clock, progress: Progress
    ) -> Latents:
        """Search on from rounded latents, in every tile, and return the best found."""
        own = replace(config, iters=clock.iters, method="rdoq", time_budget=None)
        return refine_tiles(replace(self.picture, lmbda=lmbda), latents, config=own, progress=progress).latents

    def cost(self, latents: Latents, lmbda: float) -> Cost:
        """Return the cost (1,) of rounded latents."""
        return replace(self.picture, lmbda=lmbda).cost(latents)


def refine_tiles_to(
    picture: TiledPicture,
    goal: Goal,
    *,
    config: RefineConfig,
    progress: Progress = lambda step: None,
    store: Store | None = None,
) -> tuple[TiledPicture, OperatingPoint]:
    """Refine a picture of several tiles so that its file meets a goal, which settles quality and lmbda.

    Args:
        picture: of any quality and lmbda, with a metric that need not be fitted.
        store: place that the states of its refinements are saved in, and gone on from.

    Returns:
        The picture at the quality and lmbda found, and the refinement.

    Raises:
        ConfigError: no quality in 1..8 meets the goal.
    """
    clock = Clock(1, config.time_budget, picture.level.device)
    picture = _on_one_path(picture)
    measurement = Measurement(picture.codec, picture.pixels, goal, clock, picture.tile, picture.metric)
    at = picture.at_quality

    def refined_at(quality: float, run: RefineConfig, count: Progress, lmbda: float | None = None) -> Refined:
        wanted = at(quality)
        return refined_picture(wanted if lmbda is None else replace(wanted, lmbda=lmbda), run, count, store)

    def continuation_of(start: OperatingPoint) -> Continuation:
        return ContinuedTiles(replace(at(start.quality), metric=start.refined.distortion))

    found = meet(measurement, refined_at, continuation_of, config=config, progress=progress)
    metric = found.refined.distortion
    return replace(at(found.quality), lmbda=found.lmbda, metric=metric), found


def _on_one_path(picture: TiledPicture) -> TiledPicture:
    """Return the picture with the linear gain profile where it is hard for the networks.

    A search needs one profile at all qualities; `rdo.target_search` does so for pictures of one tile.
    """
    codec = picture.codec
    for quality in PROBED_QUALITIES if codec.linear_profile is not None else ():
        probed = picture.at_quality(quality)
        plain = probed.plain()
        probed = probed.fitted(plain)
        if not probed.is_hard(plain, probed.distortion_of(plain)):
            continue
        best = TileStart(probed, plain).or_along_linear_path()
        if best.picture.codec.gain_profile == codec.linear_profile:
            return replace(picture, codec=best.picture.codec)
    return picture


def refined_picture(
    picture: TiledPicture, config: RefineConfig, progress: Progress, store: Store | None = None
) -> Refined:
    """Refine a picture of several tiles from its plain encoding; one that is not fitted is fitted to that."""
    clock = Clock(1, None, picture.level.device)
    plain = picture.plain()
    picture = picture.fitted(plain)
    plain_cost = picture.cost(plain)
    if not config.iters:
        return Refined(plain, plain, plain_cost, plain_cost, picture.metric, config.method, 0, clock.seconds)
    swept = refine_tiles(picture, plain, config=config, progress=progress, store=store)
    cost, seconds = picture.cost(swept.latents), clock.seconds
    return Refined(
        swept.latents, plain, cost, plain_cost, picture.metric, config.method, swept.iters, seconds, swept.resumed_step
    )
