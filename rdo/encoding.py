"""Encoding of a picture to the bytes of a refined file: plain encoding, refinement, both decoded and compared.

The invariant: the file decodes to the latents it was written from, and without a target it costs no more than the file
of plain encoding: bytes as written, distortion of the decoded 8-bit pixels.
"""

from codec.coding import Verified, write_verified
from codec.errors import ConfigError
from codec.images.pixels import Pixels, to_tensor
from codec.interface import AnyCodec
from rdo.config import RefineConfig
from rdo.distortion import Distortion, distortion_of
from rdo.presets import recipe, usual_method
from rdo.refinement import Progress, Refined, refine
from rdo.target import Goal
from rdo.target_search import refine_to


def encode(
    codec: AnyCodec,
    pixels: Pixels,
    *,
    quality: float | None = None,
    iters: int = 40,
    lmbda: float | None = None,
    target_bytes: int | None = None,
    target_bpp: float | None = None,
    target_psnr_db: float | None = None,
    config: RefineConfig | None = None,
    distortion: Distortion | None = None,
    progress: Progress = lambda step: None,
) -> bytes:
    """Encode an 8-bit picture to a refined, verified .rdo file.

    Args:
        quality: 1 (smallest file) to 8 (best picture); None takes the codec's default.
        iters: refinement steps, with the schedules that suit them (`rdo.recipe`); 0 is plain encoding.
        lmbda: weight of the distortion (on the scale of mse on 0..255) against bpp; None takes what suits the quality.
        target_bytes, target_bpp: ceiling of the file's size, which is met from below by 1 % (small pictures: 5 %) where
            the best quality fills it; settles quality and lmbda.
        target_psnr_db: PSNR of the decoded picture in dB, met to 0.05 dB; settles quality and lmbda.
        config: settings of the refinement in place of `iters`.
        distortion: to be minimised; None takes the training objective of the codec.
        progress: called with the number of each step.

    Raises:
        ConfigError: a value out of range, two that exclude each other, or a target that no quality meets.
        BitstreamError: the picture is larger than the format holds.
    """
    goal = _goal(pixels, target_bytes, target_bpp, target_psnr_db)
    settings = config or recipe(iters, usual_method(codec.config.name))
    measure = distortion or distortion_of(codec)
    x = to_tensor(pixels).to(codec.device)
    if goal is None:
        quality = codec.default_quality if quality is None else quality
        lmbda = codec.lmbda_of(quality) if lmbda is None else lmbda
        refined = refine(codec, x, quality, settings, lmbda, progress, measure)
        return _cheaper(codec, pixels, refined, quality, lmbda, measure).data
    if quality is not None or lmbda is not None:
        raise ConfigError("a target settles quality and lmbda: leave them out")
    if not codec.variable_rate:
        alone = f"{codec.config.name} has quality {codec.default_quality:g} alone"
        raise ConfigError(f"target {goal.value:g}: {alone}: leave targets out, or load another model")
    met = refine_to(codec, x, goal, settings, pixels.grey, progress, measure)
    return write_verified(codec, met.refined.latents, pixels, met.quality).data


def _goal(pixels: Pixels, size: int | None, bpp: float | None, psnr_db: float | None) -> Goal | None:
    """Return the given target as a goal; None where no target is given.

    Raises:
        ConfigError: more than one, or one that is not positive and finite.
    """
    if sum(target is not None for target in (size, bpp, psnr_db)) > 1:
        raise ConfigError("give one of target_bytes, target_bpp and target_psnr_db: each settles the others")
    try:
        if psnr_db is not None:
            return Goal("psnr", psnr_db)
        if bpp is not None:
            return Goal("bytes", bpp * pixels.width * pixels.height / 8)
        return None if size is None else Goal("bytes", size)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _cheaper(
    codec: AnyCodec, pixels: Pixels, refined: Refined, quality: float, lmbda: float, measure: Distortion
) -> Verified:
    """Write the refined and the plain file, and return the one of lower cost in bytes and decoded 8-bit pixels."""

    def cost(file: Verified) -> float:
        x_hat, x = (to_tensor(picture).to(codec.device) for picture in (file.pixels, pixels))
        return 8 * len(file.data) / (pixels.width * pixels.height) + lmbda * float(measure(x_hat, x))

    plain = write_verified(codec, refined.plain, pixels, quality)
    if not refined.iters:
        return plain
    return min(write_verified(codec, refined.latents, pixels, quality), plain, key=cost)
