"""Pictures to the bytes of refined files by the networks alone: plain encoding, refinement, both written and compared.

The invariant: each file decodes to the latents it was written from, and without a target it costs no more than the file
of plain encoding: bytes as written, distortion of the decoded 8-bit pixels.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from codec.coding import coding_arithmetic, plain_latents, write_verified
from codec.images.pixels import Pixels, to_tensor
from codec.interface import AnyCodec, Latents
from rdo.config import RefineConfig
from rdo.distortion import Distortion
from rdo.gain_choice import choose_gain_profiles
from rdo.objective import Problem
from rdo.refinement import Progress, Refined, refine
from rdo.target import Goal
from rdo.target_search import refine_to
from rdo.tune import Tune


@dataclass(frozen=True)
class PricedFile:
    """Bytes of a verified file, the pixels decoded from them, and the distortion of these."""

    data: bytes
    pixels: Pixels
    distortion: float

    def cost(self, lmbda: float) -> float:
        """Return bpp + lmbda * distortion."""
        return 8 * len(self.data) / (self.pixels.width * self.pixels.height) + lmbda * self.distortion


@dataclass(frozen=True)
class EncodedPicture:
    """One picture's file and its plain encoding.

    Attributes:
        file: the refined file; without a goal, the plain one where that costs less.
        plain: the file of plain encoding at the same quality, by the codec's own quantisation steps; under a goal, by
            those of `file`.
        quality, lmbda: those of the file.
        refined: the refinement that it came from, of this picture and of those refined with it.
    """

    file: PricedFile
    plain: PricedFile
    quality: float
    lmbda: float
    refined: Refined


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
) -> list[EncodedPicture]:
    """Encode pictures of one shape by the networks to refined, verified files, those with one gain profile together.

    Args:
        codec: frozen codec.
        pictures: one alone where there is a goal.
        tune: distortion and gain profiles.
        quality, lmbda: None takes the codec's default, and what suits the quality; a goal settles both.
        goal: size or quality that the file shall have.
        config: of the refinement; its time budget is that of one picture.
        progress: called with the number of each step.

    Raises:
        ConfigError: a quality that the codec does not have, or a goal that none meets.
    """
    x = torch.cat([_tensor(codec, pixels) for pixels in pictures])  # (B, 3, H, W)
    if goal is not None:
        assert len(pictures) == 1, "each picture meets a goal at a quality of its own"
        profiled = codec.with_gain_profile(tune.gain_profiles[len(tune.gain_profiles) // 2])
        found = refine_to(
            profiled, x, goal, config=config, grey=pictures[0].grey, progress=progress, distortion=tune.distortion
        )
        refined = found.refined
        file, plain = (
            _write(profiled, latents, pictures[0], found.quality, refined.distortion)
            for latents in (refined.latents, refined.plain)
        )
        return [EncodedPicture(file, plain, found.quality, found.lmbda, refined)]
    quality = codec.default_quality if quality is None else quality
    lmbda = codec.lmbda_of(quality) if lmbda is None else lmbda
    all_plain, distortion, runs = _refine(
        codec, x, quality=quality, lmbda=lmbda, tune=tune, config=config, progress=progress
    )
    encoded: dict[int, EncodedPicture] = {}
    for run in runs:
        for position, index in enumerate(run.images):
            pixels, own = pictures[index], distortion.of_images([index])
            plain = file = _write(codec, _image(all_plain, index), pixels, quality, own)
            if run.refined.iters:
                file = _write(run.codec, _image(run.refined.latents, position), pixels, quality, own)
                # 8-bit rounding and the padding of the file can tip a tie of estimates
                file = min(file, plain, key=lambda each: each.cost(lmbda))
            encoded[index] = EncodedPicture(file, plain, quality, lmbda, run.refined)
    return [encoded[index] for index in range(len(pictures))]


def _refine(
    codec: AnyCodec,
    x: Tensor,
    *,
    quality: float,
    lmbda: float,
    tune: Tune,
    config: RefineConfig,
    progress: Progress,
) -> tuple[Latents, Distortion, list[_Run]]:
    """Refine images x (B, 3, H, W), each with a gain profile of its own where the tuning has several to choose from.

    Returns:
        The latents of plain encoding by the codec's own steps, the distortion fitted to the images by them, and the
        refinements, one for each profile chosen.
    """

    def run(profile: int, images: list[int], distortion: Distortion) -> _Run:
        profiled, budget = codec.with_gain_profile(profile), config.time_budget and config.time_budget * len(images)
        own = replace(config, time_budget=budget)
        return _Run(
            profiled,
            images,
            refine(profiled, x[images], quality, config=own, lmbda=lmbda, progress=progress, distortion=distortion),
        )

    if not config.iters or tune.gain_profiles == (codec.gain_profile,):  # which begins with the plain encoding
        only = run(codec.gain_profile, list(range(len(x))), tune.distortion)
        return only.refined.plain, only.refined.distortion, [only]
    level = codec.level(quality).expand(len(x))
    with coding_arithmetic():
        plain = plain_latents(codec, x, level)
        distortion = Problem(codec, x, level, torch.full_like(level, lmbda), tune.distortion).fitted(plain).metric
    profiles = choose_gain_profiles(codec, x, quality, lmbda=lmbda, distortion=distortion, profiles=tune.gain_profiles)
    runs = []
    for profile in sorted(set(profiles)):
        images = [index for index, own in enumerate(profiles) if own == profile]
        runs.append(run(profile, images, distortion.of_images(images)))
    return plain, distortion, runs


def _image(latents: Latents, index: int) -> Latents:
    """Return the latents of one image, as a batch of 1."""
    return Latents(*(v[index : index + 1] for v in latents))


def _write(codec: AnyCodec, latents: Latents, pixels: Pixels, quality: float, distortion: Distortion) -> PricedFile:
    """Write and verify the file of a picture; `distortion` is fitted to it."""
    data, decoded = write_verified(codec, latents, pixels, quality)
    return PricedFile(data, decoded, float(distortion(_tensor(codec, decoded), _tensor(codec, pixels))))


def _tensor(codec: AnyCodec, pixels: Pixels) -> Tensor:
    return to_tensor(pixels).to(codec.device)
