"""Pictures to the bytes of refined files by the networks alone: plain encoding, refinement, both written and compared.

The invariant: each file decodes to the latents it was written from, and without a target it costs no more than the file
of plain encoding: bytes as written, distortion of the decoded 8-bit pixels.
"""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from codec.bitstream.boxes import Box
from codec.bitstream.tiles import TILE
from codec.coding import write_verified
from codec.images.pixels import Pixels, to_tensor
from codec.interface import AnyCodec, Latents
from codec.tiling import tile_side
from rdo.config import RefineConfig
from rdo.distortion import Distortion
from rdo.encoded import EncodedPicture, Extras, PricedFile
from rdo.gain_choice import choose_gain_profiles
from rdo.memory import within_memory
from rdo.refinement import Progress, Refined, begin, refine
from rdo.resuming import Store
from rdo.starts import ChosenStart, choose_start
from rdo.target import Goal
from rdo.target_search import refine_to
from rdo.tiled_encoding import encode_tiles
from rdo.tune import Tune


class _Run(NamedTuple):
    """Refinement of the images with one gain profile, by their indices, and the codec of that profile."""

    codec: AnyCodec
    images: list[int]
    refined: Refined


def encode_pictures(
    codec: AnyCodec,
    pictures: list[Pixels],
    *,
    tune: Tune,
    quality: float | None = None,
    lmbda: float | None = None,
    goal: Goal | None = None,
    config: RefineConfig,
    progress: Progress = lambda step: None,
    tile: int = TILE,
    boxes: tuple[Box, ...] = (),
    store: Store | None = None,
) -> list[EncodedPicture]:
    """Encode pictures of one shape by the networks to refined, verified files, those with one gain profile together.

    Pictures of several tiles are refined one after the other, tile by tile.

    Args:
        codec: frozen codec.
        pictures: one alone where there is a goal.
        tune: distortion and gain profiles.
        quality, lmbda: None takes the codec's default, and what suits the quality; a goal settles both.
        goal: size or quality that the file shall have.
        config: of the refinement; its time budget is that of one picture.
        progress: called with the number of each step.
        tile: side in pixels of the tiles that a large picture is cut into, 0 cuts none.
        boxes: of each file.
        store: of one picture, place that the state of its refinement is saved in, and gone on from.

    Raises:
        ConfigError: a quality that the codec does not have, or a goal that none meets.
    """
    extras = Extras(tile_side(codec, pictures[0].width, pictures[0].height, tile), boxes)
    if extras.tile:
        return [
            encode_tiles(
                codec, pixels, tune=tune, quality=quality, lmbda=lmbda, goal=goal, config=config, progress=progress,
                extras=extras, store=store if len(pictures) == 1 else None,
            )
            for pixels in pictures
        ]  # fmt: skip
    x = torch.cat([_tensor(codec, pixels) for pixels in pictures])  # (B, 3, H, W)
    if goal is not None:
        assert len(pictures) == 1, "each picture meets a goal at a quality of its own"
        return [
            _encode_to_goal(
                codec, pictures[0], x, goal, tune=tune, config=config, progress=progress, extras=extras, store=store
            )
        ]
    quality = codec.default_quality if quality is None else quality
    lmbda = codec.lmbda_of(quality) if lmbda is None else lmbda
    plain_found, distortion, runs = _refine(
        codec, x, quality=quality, lmbda=lmbda, tune=tune, config=config, progress=progress,
        store=store if len(pictures) == 1 else None,
    )  # fmt: skip
    encoded: dict[int, EncodedPicture] = {}
    for run in runs:
        for position, index in enumerate(run.images):
            pixels, own = pictures[index], distortion.of_images([index])
            writer = codec.with_gain_profile(plain_found.profiles[index])
            plain_latents = _image(plain_found.start.plain.latents, index)
            plain = file = _write(writer, plain_latents, pixels, quality, own, extras)
            if run.refined.iters:
                file = _write(run.codec, _image(run.refined.latents, position), pixels, quality, own, extras)
                # 8-bit rounding and the padding of the file can tip a tie of estimates
                file = min(file, plain, key=lambda each: each.cost(lmbda))
            encoded[index] = EncodedPicture(file, plain, quality, lmbda, run.refined)
    return [encoded[index] for index in range(len(pictures))]


def _encode_to_goal(
    codec: AnyCodec,
    pixels: Pixels,
    x: Tensor,
    goal: Goal,
    *,
    tune: Tune,
    config: RefineConfig,
    progress: Progress,
    extras: Extras,
    store: Store | None,
) -> EncodedPicture:
    """Encode a picture of one tile, x (1, 3, H, W), to meet a goal."""
    found = refine_to(
        codec.with_gain_profile(tune.middle_profile), x, goal, config=config, grey=pixels.grey, progress=progress,
        distortion=tune.distortion, store=store,
    )  # fmt: skip
    refined, writer = found.refined, codec.with_gain_profile(found.gain_profile)
    file, plain = (
        _write(writer, latents, pixels, found.quality, refined.distortion, extras)
        for latents in (refined.latents, refined.plain)
    )
    return EncodedPicture(file, plain, found.quality, found.lmbda, refined)


def _refine(
    codec: AnyCodec,
    x: Tensor,
    *,
    quality: float,
    lmbda: float,
    tune: Tune,
    config: RefineConfig,
    progress: Progress,
    store: Store | None,
) -> tuple[ChosenStart, Distortion, list[_Run]]:
    """Refine images x (B, 3, H, W), each with a gain profile of its own where there are several to choose from.

    Returns:
        Plain encoding by the codec's own steps, the distortion fitted to the images by it, and the refinements, one for
        each profile chosen.
    """
    problem, start = begin(codec, x, quality, config=config, lmbda=lmbda, distortion=tune.distortion)
    plain = choose_start(codec, problem, start, lambda other: within_memory(other, x.shape, config))
    tuned = bool(config.iters) and tune.gain_profiles != (codec.gain_profile,)
    choose = partial(choose_gain_profiles, codec, quality=quality, lmbda=lmbda)
    profiles = list(plain.profiles)
    for own in sorted(set(plain.profiles)) if tuned else ():
        images = [index for index, profile in enumerate(plain.profiles) if profile == own]
        tried = tune.gain_profiles + ((own,) if own != codec.gain_profile else ())  # where the picture is hard
        found = choose(x[images], distortion=problem.metric.of_images(images), profiles=tried)
        profiles = [dict(zip(images, found, strict=True)).get(index, old) for index, old in enumerate(profiles)]
    runs = []
    for profile in sorted(set(profiles)):
        images = [index for index, own in enumerate(profiles) if own == profile]
        profiled, budget = codec.with_gain_profile(profile), config.time_budget and config.time_budget * len(images)
        refined = refine(
            profiled,
            x[images],
            quality,
            config=replace(config, time_budget=budget),
            lmbda=lmbda,
            progress=progress,
            distortion=problem.metric.of_images(images),
            start=None if tuned else plain.start.of_images(images),
            store=store,
        )
        runs.append(_Run(profiled, images, refined))
    return plain, problem.metric, runs


def _image(latents: Latents, index: int) -> Latents:
    """Return the latents of one image, as a batch of 1."""
    return Latents(*(v[index : index + 1] for v in latents))


def _write(
    codec: AnyCodec, latents: Latents, pixels: Pixels, quality: float, distortion: Distortion, extras: Extras
) -> PricedFile:
    """Write and verify the file of a picture that is one tile; `distortion` is fitted to it."""
    data, decoded = write_verified(codec, latents, pixels, quality, tile=0, boxes=extras.boxes)
    return PricedFile(data, decoded, float(distortion(_tensor(codec, decoded), _tensor(codec, pixels))))


def _tensor(codec: AnyCodec, pixels: Pixels) -> Tensor:
    return to_tensor(pixels).to(codec.device)
