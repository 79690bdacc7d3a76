"""One picture to the bytes of a refined file: settings and goals as arguments, for use from Python."""

from dataclasses import replace

from codec.bitstream.boxes import Box
from codec.bitstream.tiles import TILE
from codec.errors import ConfigError
from codec.exact_choice import ExactMode
from codec.images.pixels import Pixels
from codec.interface import AnyCodec
from rdo.config import RefineConfig
from rdo.distortion import Distortion
from rdo.exact import encode_files
from rdo.presets import recipe, usual_method
from rdo.refinement import Progress
from rdo.target import Goal, Kind
from rdo.tune import tune_of


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
    exact: ExactMode = "auto",
    progress: Progress = lambda step: None,
    tile: int = TILE,
    boxes: tuple[Box, ...] = (),
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
        exact: `auto` stores 64 px blocks losslessly where that costs less, as in drawings and text; `all` makes a
            lossless file, `never` leaves all to the networks.
        progress: called with the number of each step.
        tile: side in pixels of the tiles that a large picture is cut into, a multiple of 64; 0 cuts none.
        boxes: typed data besides the picture.

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
    aim = tune_of(tune, codec, min(pixels.width, pixels.height))
    if distortion is not None:
        aim = replace(aim, distortion=distortion)
    settings = config or recipe(iters, usual_method(codec.config.name), presets=aim.presets)
    encoded = encode_files(
        codec,
        [pixels],
        tune=aim,
        quality=quality,
        lmbda=lmbda,
        goal=goal,
        config=settings,
        exact=exact,
        progress=progress,
        tile=tile,
        boxes=boxes,
    )
    return encoded[0].file.data


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
