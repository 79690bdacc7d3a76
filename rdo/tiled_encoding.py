"""Pictures of several tiles to the bytes of refined files by the networks alone.

The invariant is that of `rdo.encoding`: a file decodes to the latents it was written from, and without a target it
costs no more than the file of plain encoding.
"""

import time
from dataclasses import replace

import torch

from codec.coding import write_verified
from codec.images.pixels import Pixels
from codec.interface import AnyCodec, Latents
from rdo.config import RefineConfig
from rdo.encoded import EncodedPicture, Extras, PricedFile
from rdo.objective import Cost
from rdo.refinement import Progress, Refined
from rdo.resuming import Store
from rdo.target import Goal
from rdo.tiled_picture import TiledPicture, TileStart
from rdo.tiled_target import refine_tiles_to
from rdo.tiles import Swept, refine_tiles
from rdo.tune import Tune


def encode_tiles(
    codec: AnyCodec,
    pixels: Pixels,
    *,
    tune: Tune,
    quality: float | None,
    lmbda: float | None,
    goal: Goal | None,
    config: RefineConfig,
    progress: Progress,
    extras: Extras,
    store: Store | None,
) -> EncodedPicture:
    """Encode a picture of several tiles, which are refined one after the other."""
    begin = time.monotonic()
    quality = codec.default_quality if quality is None else quality
    lmbda = codec.lmbda_of(quality) if lmbda is None else lmbda
    picture = TiledPicture(codec, pixels, extras.tile, codec.level(quality), lmbda, tune.distortion)
    if goal is not None:
        profiled = codec.with_gain_profile(tune.middle_profile)
        profiled_picture = replace(picture, codec=profiled)
        picture, found = refine_tiles_to(profiled_picture, goal, config=config, progress=progress, store=store)
        latents = found.refined.latents, found.refined.plain
        file, plain = (_write_tiles(picture, each, found.quality, extras) for each in latents)
        return EncodedPicture(file, plain, found.quality, found.lmbda, found.refined)
    plain_latents = picture.plain()
    picture = picture.fitted(plain_latents)
    plain = _write_tiles(picture, plain_latents, quality, extras)
    start = TileStart(picture, plain_latents)
    if is_hard := picture.is_hard(plain_latents, plain.distortion):
        best = start.or_along_linear_path()
        written = plain if best is start else _write_tiles(*best, quality, extras)
        if written.cost(lmbda) < plain.cost(lmbda):
            plain, start, plain_latents = written, best, best.latents
    file, swept = plain, Swept(start.latents, 0)
    if config.iters:
        tuned = picture.with_best_profile(tune.gain_profiles, is_hard)
        if tuned.codec is not start.picture.codec:
            start = min([TileStart(tuned, tuned.plain()), *([start] if is_hard else [])], key=lambda each: each.cost)
        picture = start.picture
        swept = refine_tiles(picture, start.latents, config=config, progress=progress, store=store)
        file = min(_write_tiles(picture, swept.latents, quality, extras), plain, key=lambda each: each.cost(lmbda))
    cost, plain_cost = (_cost(each, picture) for each in (file, plain))
    seconds = time.monotonic() - begin
    outcome = Refined(
        swept.latents, plain_latents, cost, plain_cost, picture.metric, config.method, swept.iters, seconds,
        swept.resumed_step,
    )  # fmt: skip
    return EncodedPicture(file, plain, quality, lmbda, outcome)


def _cost(file: PricedFile, picture: TiledPicture) -> Cost:
    """Return the cost (1,) of a file, as measured."""
    return Cost(*(torch.full_like(picture.level, v) for v in (file.cost(picture.lmbda), file.bpp, file.distortion)))


def _write_tiles(picture: TiledPicture, latents: Latents, quality: float, extras: Extras) -> PricedFile:
    """Write and verify the file of a picture of several tiles."""
    data, decoded = write_verified(
        picture.codec, latents, picture.pixels, quality, tile=picture.tile, boxes=extras.boxes
    )
    return PricedFile(data, decoded, picture.distortion(decoded))
