"""Refinement of a picture of several tiles, one tile at a time, in memory that does not grow with the picture.

    for each tile:  y, z of the tile <- refined, with the latents of its neighbours as they are

A tile that is refined after its neighbour makes up for what the neighbour's latents left at their common edge; a second
sweep does so for the first. The invariant: no tile ends at a higher cost than it began with.
"""

from dataclasses import replace
from typing import NamedTuple

from codec.allocator import release_memory
from codec.arithmetic import coding_arithmetic
from codec.bitstream.tiles import Rect
from codec.interface import Latents
from codec.tiling import cut
from rdo.config import RefineConfig
from rdo.objective import Best, priced
from rdo.refinement import Progress, improved
from rdo.schedules import Clock
from rdo.tiled_picture import TiledPicture

# of the budget; on a photograph 0, 0.1, 0.2, 0.25, 0.4 saved 18.7, 20.0, 20.6, 20.9, 21.9 % of cost
SECOND_FRACTION = 0.4
# steps in a row of the second sweep that may bring a tile nothing: on most photographs it has next to nothing to gain
SECOND_PATIENCE = 3
COST_MIN = 0.05  # of a tile, as a multiple of the mean, below which it is not worth its steps


class Swept(NamedTuple):
    """Latents of a whole picture after a refinement of its tiles, and the steps of a tile, on average."""

    latents: Latents
    iters: int


def refine_tiles(
    picture: TiledPicture, start: Latents, *, config: RefineConfig, progress: Progress = lambda step: None
) -> Swept:
    """Refine a picture's tiles one after the other, from rounded latents `start` of the whole picture, in two sweeps.

    In the second, which takes `SECOND_FRACTION` of the steps and seconds, each tile searches on at temperature 0, with
    its neighbours refined and its curvature estimated anew, until `SECOND_PATIENCE` ends it. Each tile has its share of
    a sweep's steps and seconds; what one leaves goes to those after it, and so do the steps of tiles that have next to
    nothing to gain (`COST_MIN`).

    Args:
        progress: called with the number of finished steps, of all tiles together divided by their number.
    """
    second = round(SECOND_FRACTION * config.iters)
    seconds = None if config.time_budget is None else (1 - SECOND_FRACTION) * config.time_budget
    time = Clock(1, config.time_budget, picture.level.device)
    first = replace(config, iters=config.iters - second, time_budget=seconds)
    latents = Latents(*(v.clone() for v in start))
    todo = _worthwhile(picture, latents, config)
    steps = _sweep(picture, latents, todo, config=first, progress=progress, before=0)
    if second:
        last = replace(
            config, iters=second, method="rdoq", temperature_bits=0.0, time_budget=time.left,
            patience=config.patience or SECOND_PATIENCE,
        )  # fmt: skip
        steps = _sweep(picture, latents, todo, config=last, progress=progress, before=steps)
    return Swept(latents, -(-steps // len(picture.tiles)))


def _sweep(
    picture: TiledPicture, latents: Latents, todo: list[Rect], *, config: RefineConfig, progress: Progress, before: int
) -> int:
    """Refine the tiles `todo` in place; return the steps of all tiles and sweeps so far."""
    tiles, time = picture.tiles, Clock(1, config.time_budget, picture.level.device)
    budget, steps = config.iters * len(tiles), 0
    for index, tile in enumerate(todo):
        left = len(todo) - index
        own = replace(config, iters=(budget - steps) // left, time_budget=time.left and time.left / left)
        count = _counter(progress, before + steps, len(tiles))
        release_memory()  # as what a tile took is not all of use for the next
        best, done = _refined_tile(picture, latents, tile, config=own, progress=count)
        for target, better in zip(cut(latents, picture.whole, tile), best.latents, strict=True):
            target.copy_(better)
        steps += done
    return before + steps


def _counter(progress: Progress, before: int, tiles: int) -> Progress:
    """Return the progress of one tile, which counts the steps of the whole picture."""
    return lambda step: progress(-(-(before + step) // tiles))


def _refined_tile(
    picture: TiledPicture, latents: Latents, tile: Rect, *, config: RefineConfig, progress: Progress
) -> tuple[Best, int]:
    """Refine one tile; return the cheapest latents found and the number of steps."""
    clock = Clock(config.iters, config.time_budget, picture.level.device)
    problem = picture.problem(latents, tile, config)
    with coding_arithmetic():
        plain = priced(problem, Latents(*(v.clone() for v in cut(latents, picture.whole, tile))))
        start = plain.latents if config.method == "rdoq" else picture.analysed(tile)
    best = improved(problem, start, plain, codec=picture.codec, config=config, clock=clock, progress=progress)
    return best, clock.step


def _worthwhile(picture: TiledPicture, latents: Latents, config: RefineConfig) -> list[Rect]:
    """Return the tiles whose cost is not far below the mean."""
    totals = []
    with coding_arithmetic():
        for tile in picture.tiles:
            problem = picture.problem(latents, tile, config)
            totals.append(float(priced(problem, cut(latents, picture.whole, tile)).cost.total) * problem.pixels)
    return [
        tile for tile, total in zip(picture.tiles, totals, strict=True) if total >= COST_MIN * sum(totals) / len(totals)
    ]
