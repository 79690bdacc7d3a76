"""Pictures to the bytes of refined files: plain encoding, refinement, both written, decoded and compared.

The invariant: each file decodes to the latents it was written from, and without a target it costs no more than the file
of plain encoding: bytes as written, distortion of the decoded 8-bit pixels.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from codec.coding import Verified, coding_arithmetic, plain_latents, write_verified
from codec.errors import ConfigError
from codec.images.pixels import Pixels, crop, to_tensor
from codec.interface import AnyCodec, Latents
from rdo.config import RefineConfig
from rdo.distortion import Distortion
from rdo.gain_choice import choose_gain_profiles
from rdo.presets import recipe, usual_method
from rdo.refinement import Progress, Refined, refine
from rdo.target import Goal, Kind
from rdo.target_search import refine_to
from rdo.tune import Tune, presets_of, tune_of


@dataclass(frozen=True)
class EncodedPicture:
    """One picture's file and its plain encoding, both decoded from their bytes.

    Attributes:
        file: the refined file, or the plain one where that costs less.
        plain: the file of plain encoding at the same quality, with the codec's own quantisation steps.
        cost, plain_cost: bpp + lmbda * distortion of both, from file bytes and decoded 8-bit pixels.
        quality, lmbda: those of the file.
        refined: the refinement that it came from, of this picture and of those refined with it.
    """

    file: Verified
    plain: Verified
    cost: float
    plain_cost: float
    quality: float
    lmbda: float
    refined: Refined


def encode(
    codec: AnyCodec,
    pixels: Pixels,
    *,
    quality: float | None = None,
    iters: int = 40,
    tune: str | None = None,
    lmbda: float | None = None,
    target_bytes: int | None = None,
    target_bpp: float | None = None,
    target_psnr_db: float | None = None,
    target_ssimulacra2: float | None = None,
    config: RefineConfig | None = None,
    distortion: Distortion | None = None,
    progress: Progress = lambda step: None,
) -> bytes:
    """Encode an 8-bit picture to a refined, verified .rdo file.

    Args:
        quality: 1 (smallest file) to 8 (best picture); None takes the codec's default.
        iters: refinement steps, with the schedules that suit them (`rdo.recipe`); 0 is plain encoding.
        tune: `mse`, `ms-ssim`, `visual` or `visual:SHARE` (`rdo.tune`); None is what the codec was trained for.
        lmbda: weight of the distortion (on the scale of mse on 0..255) against bpp; None takes what suits the quality.
        target_bytes, target_bpp: ceiling of the file's size, which is met from below by 1 % (small pictures: 5 %) where
            the best quality fills it; settles quality and lmbda.
        target_psnr_db: PSNR of the decoded picture in dB, met to 0.05 dB; settles quality and lmbda.
        target_ssimulacra2: SSIMULACRA 2 score of the decoded picture, met to 0.5 points; settles quality and lmbda.
        config: settings of the refinement in place of `iters`.
        distortion: to be minimised in place of that of `tune`.
        progress: called with the number of each step.

    Raises:
        ConfigError: a value out of range, two that exclude each other, or a target that no quality meets.
        BitstreamError: the picture is larger than the format holds.
    """
    goal = _goal(pixels, target_bytes, target_bpp, target_psnr_db, target_ssimulacra2)
    if goal is not None and (quality is not None or lmbda is not None):
        raise ConfigError("a target settles quality and lmbda: leave them out")
    if goal is not None and not codec.variable_rate:
        alone = f"{codec.config.name} has quality {codec.default_quality:g} alone"
        raise ConfigError(f"target {goal.value:g}: {alone}: leave targets out, or load another model")
    aim = tune_of(tune, codec)
    if distortion is not None:
        aim = replace(aim, distortion=distortion)
    settings = config or recipe(iters, usual_method(codec.config.name), presets=presets_of(tune))
    encoded = encode_pictures(
        codec, [pixels], tune=aim, quality=quality, lmbda=lmbda, goal=goal, config=settings, progress=progress
    )
    return encoded[0].file.data


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
    """Encode pictures of one shape to refined, verified files, those with one gain profile together.

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
        found = refine_to(profiled, x, goal, config, pictures[0].grey, progress, tune.distortion)
        plain = write_verified(profiled, found.refined.plain, pictures[0], found.quality)
        file = write_verified(profiled, found.refined.latents, pictures[0], found.quality)
        price = _Pricing(codec, found.lmbda, found.refined.distortion)
        costs = (price(file, pictures[0], x), price(plain, pictures[0], x))
        return [EncodedPicture(file, plain, *costs, found.quality, found.lmbda, found.refined)]
    quality = codec.default_quality if quality is None else quality
    lmbda = codec.lmbda_of(quality) if lmbda is None else lmbda
    plain_files, distortion = _plain(codec, pictures, x, quality, tune.distortion)
    profiles = choose_gain_profiles(
        codec, x, quality, lmbda=lmbda, distortion=distortion, profiles=tune.gain_profiles if config.iters else (0,)
    )
    encoded: dict[int, EncodedPicture] = {}
    for profile in sorted(set(profiles)):
        chosen = [index for index, own in enumerate(profiles) if own == profile]
        budget = config.time_budget and config.time_budget * len(chosen)
        profiled = codec.with_gain_profile(profile)
        part = distortion.of_images(chosen)
        refined = refine(profiled, x[chosen], quality, replace(config, time_budget=budget), lmbda, progress, part)
        for position, index in enumerate(chosen):
            plain, pixels, one = plain_files[index], pictures[index], [position]
            file = plain
            if refined.iters:
                file = write_verified(profiled, Latents(*(v[one] for v in refined.latents)), pixels, quality)
            price = _Pricing(codec, lmbda, distortion.of_images([index]))
            cost, plain_cost = (price(each, pixels, x[[index]]) for each in (file, plain))
            if cost > plain_cost:  # by rounding to 8 bits, or the padding of the file
                file, cost = plain, plain_cost
            encoded[index] = EncodedPicture(file, plain, cost, plain_cost, quality, lmbda, refined)
    return [encoded[index] for index in range(len(pictures))]


def _plain(
    codec: AnyCodec, pictures: list[Pixels], x: Tensor, quality: float, distortion: Distortion
) -> tuple[list[Verified], Distortion]:
    """Encode plainly; return the files, and the distortion fitted to the pictures."""
    level = codec.level(quality).expand(len(x))
    with coding_arithmetic():
        latents = plain_latents(codec, x, level)
        if distortion.visual_share:
            distortion = distortion.fitted(x, crop(codec.synthesise(latents, level), *x.shape[-2:]))
    files = [
        write_verified(codec, Latents(*(v[[index]] for v in latents)), pixels, quality)
        for index, pixels in enumerate(pictures)
    ]
    return files, distortion


@dataclass(frozen=True)
class _Pricing:
    """Cost of a decoded file: bpp + lmbda * distortion, the distortion fitted to its one picture."""

    codec: AnyCodec
    lmbda: float
    distortion: Distortion

    def __call__(self, file: Verified, pixels: Pixels, x: Tensor) -> float:
        """Return the cost of a file of a picture, which is x (1, 3, H, W)."""
        bpp = 8 * len(file.data) / (pixels.width * pixels.height)
        return bpp + self.lmbda * float(self.distortion(_tensor(self.codec, file.pixels), x))


def _tensor(codec: AnyCodec, pixels: Pixels) -> Tensor:
    return to_tensor(pixels).to(codec.device)


def _goal(
    pixels: Pixels, size: int | None, bpp: float | None, psnr_db: float | None, ssimulacra2: float | None
) -> Goal | None:
    """Return the one target that is given, as a goal; None where none is.

    Raises:
        ConfigError: more than one, or one that is not positive and finite.
    """
    bytes_of_bpp = None if bpp is None else bpp * pixels.width * pixels.height / 8
    goals: tuple[tuple[Kind, float | None], ...] = (
        ("bytes", size), ("bytes", bytes_of_bpp), ("psnr", psnr_db), ("ssimulacra2", ssimulacra2),
    )  # fmt: skip
    given = [(kind, value) for kind, value in goals if value is not None]
    if len(given) > 1:
        raise ConfigError(
            "give one of target_bytes, target_bpp, target_psnr_db and target_ssimulacra2: each settles the others"
        )
    try:
        return Goal(*given[0]) if given else None
    except ValueError as error:
        raise ConfigError(str(error)) from error
