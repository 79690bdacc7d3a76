"""Refinement of a picture of several tiles, one tile at a time, in memory that does not grow with the picture.

    for each tile:  y, z of the tile <- refined, with the latents of its neighbours as they are

A tile that is refined after its neighbour makes up for what the neighbour's latents left at their common edge; a second
sweep does so for the first. The invariant: no tile ends at a higher cost than it began with.
"""

from dataclasses import replace
from typing import NamedTuple

import torch

from codec.allocator import release_memory
from codec.arithmetic import coding_arithmetic
from codec.bitstream.tiles import Rect
from codec.interface import Latents
from codec.latents import cut, part_of
from rdo.config import RefineConfig
from rdo.objective import Best, priced
from rdo.refinement import Progress, improved, snapshots_of
from rdo.resuming import Snapshots, Store, kept_nowhere, named
from rdo.schedules import SECONDS_MIN, Clock
from rdo.tiled_picture import TiledPicture

# of the budget; on a photograph 0, 0.1, 0.2, 0.25, 0.4 saved 18.7, 20.0, 20.6, 20.9, 21.9 % of cost
SECOND_FRACTION = 0.4
# steps in a row of the second sweep that may bring a tile nothing: on most photographs it has next to nothing to gain
SECOND_PATIENCE = 3
COST_MIN = 0.05  # of a tile, as a multiple of the mean, below which it is not worth its steps


class Swept(NamedTuple):
    """Latents of a whole picture after a refinement of its tiles.

    Attributes:
        latents: rounded, of the whole picture, as int16 if the start is.
        iters: steps of a tile, on average.
        resumed_step: such a step, that an interrupted refinement went on at; None for one that was not interrupted.
    """

    latents: Latents
    iters: int
    resumed_step: int | None = None


class _Sweep(NamedTuple):
    """One pass over the tiles: its settings, and the seconds that are kept for those after it."""

    config: RefineConfig
    later_s: float = 0.0


class _Place(NamedTuple):
    """Place between two tiles: the sweep, the tile within it, and the steps of the sweep so far."""

    sweep: int = 0
    tile: int = 0
    steps: int = 0


def refine_tiles(
    picture: TiledPicture,
    start: Latents,
    *,
    config: RefineConfig,
    progress: Progress = lambda step: None,
    store: Store | None = None,
) -> Swept:
    """Refine a picture's tiles one after the other, from rounded latents `start` of the whole picture, in two sweeps.

    In the second, which takes `SECOND_FRACTION` of the steps and seconds, each tile searches on at temperature 0, with
    its neighbours refined and its curvature estimated anew, until `SECOND_PATIENCE` ends it. Each tile has its share of
    a sweep's steps and seconds; what one leaves goes to those after it, and so do the steps of tiles that have next to
    nothing to gain (`COST_MIN`).

    Args:
        progress: called with the number of finished steps, of all tiles together divided by their number.
        store: place that the state is saved in between two tiles, and gone on from; None saves nothing.
    """
    device, tiles = picture.level.device, len(picture.tiles)
    clock, snapshots = Clock(1, config.time_budget, device), _snapshots(store, picture, config)
    latents, place, resumed_step = Latents(*(v.clone() for v in start)), _Place(), None
    if snapshots is not None and snapshots.state is not None:
        state = snapshots.state
        clock.resume(state.step, state.seconds)
        resumed_step = -(-state.step // tiles)
        if state.stage == "done":
            return Swept(state.latents("best", device), resumed_step, resumed_step)
        latents, place = state.latents("latents", device), _Place(*state.tensors["place"].tolist())
    todo = _worthwhile(picture, start, config)
    kept = snapshots.kept if snapshots else kept_nowhere
    with kept("tiles", clock, lambda: named("latents", latents) | {"place": torch.tensor(place)}) as keep:
        for number, sweep in enumerate(_sweeps(config)):
            if number > place.sweep:
                place = _Place(number)
            while place.sweep == number and place.tile < len(todo):
                keep()
                steps = _refine_next(picture, latents, todo, place, sweep=sweep, clock=clock, progress=progress)
                place = place._replace(tile=place.tile + 1, steps=place.steps + steps)
                clock.step += steps
    if snapshots is not None:
        snapshots.finish(clock, latents)
    return Swept(latents, -(-clock.step // tiles), resumed_step)


def _snapshots(store: Store | None, picture: TiledPicture, config: RefineConfig) -> Snapshots | None:
    """Return the saved states of the refinement of a picture, None where there is no place for them."""
    if store is None:
        return None
    lmbda, profile = torch.full_like(picture.level, picture.lmbda), picture.codec.gain_profile
    return snapshots_of(
        store, config, level=picture.level, lmbda=lmbda, profile=profile, metric=picture.metric, tile=picture.tile
    )


def _sweeps(config: RefineConfig) -> list[_Sweep]:
    """Share the steps and seconds of a refinement out among its sweeps."""
    second = round(SECOND_FRACTION * config.iters)
    first = _Sweep(replace(config, iters=config.iters - second), SECOND_FRACTION * (config.time_budget or 0.0))
    patience = config.patience or SECOND_PATIENCE
    last = replace(config, iters=second, method="rdoq", temperature_bits=0.0, patience=patience)
    return [first, _Sweep(last)] if second else [first]


def _refine_next(
    picture: TiledPicture,
    latents: Latents,
    todo: list[Rect],
    place: _Place,
    *,
    sweep: _Sweep,
    clock: Clock,
    progress: Progress,
) -> int:
    """Refine the tile at a place of a sweep over the tiles `todo`, in place; return its steps."""
    tile, left, tiles = todo[place.tile], len(todo) - place.tile, len(picture.tiles)
    steps = (sweep.config.iters * tiles - place.steps) // left
    seconds = None if clock.left is None else max(SECONDS_MIN, clock.left - sweep.later_s) / left
    release_memory()  # as what a tile took is not all of use for the next
    best, done = _refined_tile(
        picture, latents, tile,
        config=replace(sweep.config, iters=steps, time_budget=seconds),
        progress=lambda step: progress(-(-(clock.step + step) // tiles)),
    )  # fmt: skip
    for target, better in zip(cut(latents, picture.whole, tile), best.latents, strict=True):
        target.copy_(better)
    return done


def _refined_tile(
    picture: TiledPicture, latents: Latents, tile: Rect, *, config: RefineConfig, progress: Progress
) -> tuple[Best, int]:
    """Refine one tile; return the cheapest latents found and the number of steps."""
    clock = Clock(config.iters, config.time_budget, picture.level.device)
    problem = picture.problem(latents, tile, config)
    with coding_arithmetic():
        plain = priced(problem, part_of(latents, picture.whole, tile))
        start = plain.latents if config.method == "rdoq" else picture.analysed(tile)
    best = improved(problem, start, plain, codec=picture.codec, config=config, clock=clock, progress=progress)
    return best, clock.step


def _worthwhile(picture: TiledPicture, latents: Latents, config: RefineConfig) -> list[Rect]:
    """Return the tiles whose cost is not far below the mean."""
    totals = []
    with coding_arithmetic():
        for tile in picture.tiles:
            problem = picture.problem(latents, tile, config)
            totals.append(float(priced(problem, part_of(latents, picture.whole, tile)).cost.total) * problem.pixels)
    return [
        tile for tile, total in zip(picture.tiles, totals, strict=True) if total >= COST_MIN * sum(totals) / len(totals)
    ]
