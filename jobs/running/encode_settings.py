"""Settings of an encoding: all that decides the bytes of a file besides its image and the model's weights."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from codec.architecture import STRIDE
from codec.bitstream.container import VERSION
from codec.bitstream.tiles import TILE, TILE_SIDE_MAX
from codec.errors import ConfigError
from codec.exact_choice import ExactMode, check_mode
from codec.identity import model_id
from codec.images.metadata import Keeping, check_keeping
from codec.images.pixels import to_tensor
from codec.images.read import STRICT, ImagePolicy, read_image
from codec.interface import AnyCodec
from codec.settings import config_hash
from rdo.config import RefineConfig
from rdo.distortion import Distortion, weight_of_mask
from rdo.target import Goal
from rdo.tune import Tune, tune_of

TILE_SIDE_MIN = 512  # pixels; smaller tiles cost bytes, and MS-SSIM needs as many


@dataclass(frozen=True)
class EncodeConfig:
    """Settings that decide the bytes of a file besides its image and the model's weights.

    Attributes:
        lmbda: weight of the distortion (mse on 0..255) against bpp; None is the one that `quality` was trained for.
        target_bytes, target_bpp, target_psnr: size of the file or PSNR in dB to reach; it replaces quality and lmbda.
        target_ssimulacra2: SSIMULACRA 2 score to reach, likewise.
        target_fill: fraction of a target size that the file is to fill, 0.95..1.
        tune: what refinement is to be good at (`rdo.tune`); None is what the model was trained for.
        exact: whether blocks are stored losslessly where that costs less (`auto`), `never`, or `all` of them.
        ms_ssim: share of MS-SSIM in the distortion, 0..1, the rest is that of `tune`, else mse; None adds none.
        roi: mask image, white where errors matter most.
        roi_weight: weight of the mse under white relative to black.
        tile: side in pixels of the tiles that a large picture is cut into; 0 cuts none.
        metadata: what the file keeps of the image's EXIF and XMP (`codec.images.metadata`).
        middle: side in pixels of the square in the middle of the image that alone is encoded, for a measurement; None
            encodes all.

    Raises:
        ConfigError: a value out of range, or two that exclude each other.
    """

    model: str = "small"
    quality: float = 4.0
    lmbda: float | None = None
    target_bytes: int | None = None
    target_bpp: float | None = None
    target_psnr: float | None = None
    ms_ssim: float | None = None
    roi: Path | None = None
    roi_weight: float = 8.0
    refine: RefineConfig = RefineConfig()
    policy: ImagePolicy = ImagePolicy()
    tune: str | None = None
    target_ssimulacra2: float | None = None
    tile: int = TILE
    metadata: Keeping = "default"
    target_fill: float = 0.99
    exact: ExactMode = "auto"
    middle: int | None = None

    ADDED: ClassVar[tuple[str, ...]] = (
        "tune", "target_ssimulacra2", "tile", "metadata", "target_fill", "exact", "middle",
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_keeping(self.metadata)
        if self.lmbda is not None and not 0 < self.lmbda < float("inf"):
            raise ConfigError(f"lmbda {self.lmbda}: must be positive; the range of quality 1..8 is 0.002..0.058")
        given = (self.target_bytes, self.target_bpp, self.target_psnr, self.target_ssimulacra2)
        targets = [target for target in given if target is not None]
        if len(targets) > 1 or (targets and self.lmbda is not None):
            names = "target_bytes, target_bpp, target_psnr, target_ssimulacra2 and lmbda"
            raise ConfigError(f"give one of {names}: each settles the others")
        if any(not 0 < target < float("inf") for target in targets):
            raise ConfigError(f"target {targets[0]}: must be positive and finite")
        if self.ms_ssim is not None and not 0 <= self.ms_ssim <= 1:
            raise ConfigError(f"ms_ssim {self.ms_ssim}: a share of the distortion, between 0 (mse alone) and 1")
        check_mode(self.exact, bool(targets))
        if not 1e-6 <= self.roi_weight <= 1e6:  # beyond, float32 loses the black or the white of a mask
            raise ConfigError(f"roi_weight {self.roi_weight:g}: must lie between 1e-6 and 1e6")
        if self.tile and (self.tile % STRIDE or not TILE_SIDE_MIN <= self.tile <= TILE_SIDE_MAX):
            rule = f"a multiple of {STRIDE} from {TILE_SIDE_MIN} to {TILE_SIDE_MAX}, or 0"
            raise ConfigError(f"tile {self.tile}: must be {rule}")

    @property
    def targeted(self) -> bool:
        """Presence of a target, under which each image has a quality of its own."""
        return self.goal(1) is not None

    def goal(self, pixels: int, reserved_bytes: int = 0) -> Goal | None:
        """Return the target of a file of `pixels` pixels, None if there is none.

        Args:
            reserved_bytes: of a size, what the file holds besides its picture.

        Raises:
            ConfigError: that alone is more than the size.
        """
        goal = self._goal(pixels)
        if goal is None or goal.kind != "bytes" or not reserved_bytes:
            return goal
        if goal.value <= reserved_bytes:
            what = f"target {goal.value:.0f} bytes: the metadata alone takes {reserved_bytes}"
            raise ConfigError(f"{what}: raise the target, or pass --metadata copyright or drop")
        return Goal("bytes", goal.value - reserved_bytes)

    def _goal(self, pixels: int) -> Goal | None:
        if self.target_psnr is not None:
            return Goal("psnr", self.target_psnr)
        if self.target_ssimulacra2 is not None:
            return Goal("ssimulacra2", self.target_ssimulacra2)
        if self.target_bpp is not None:
            return Goal("bytes", self.target_bpp * pixels / 8, self.target_fill)
        return None if self.target_bytes is None else Goal("bytes", self.target_bytes, self.target_fill)


@dataclass(frozen=True)
class RateFlags:
    """Flags that choose rate and distortion, fields of `EncodeConfig`; None leaves a setting to the codec."""

    quality: float | None = None
    lmbda: float | None = None
    target_bytes: int | None = None
    target_bpp: float | None = None
    target_psnr: float | None = None
    target_ssimulacra2: float | None = None
    tune: str | None = None
    ms_ssim: float | None = None
    roi: Path | None = None
    roi_weight: float | None = None
    tile: int | None = None
    exact: ExactMode | None = None


def encode_config(
    codec: AnyCodec,
    flags: RateFlags,
    *,
    model: str,
    refine: RefineConfig,
    policy: ImagePolicy,
    metadata: Keeping = "default",
) -> EncodeConfig:
    """Return the settings of an encoding by `codec`, checked before anything is read or written.

    Args:
        model: name that `codec` was loaded by.

    Raises:
        ConfigError: a value out of range, or two that exclude each other.
        ImageError: the mask is no readable image.
    """
    given: dict[str, Any] = {name: value for name, value in vars(flags).items() if value is not None}
    targets = [f"--{name.replace('_', '-')}" for name in given if name.startswith("target_")]
    if targets and "quality" in given:
        raise ConfigError(f"--quality and {targets[0]}: the target settles the quality, leave one out")
    if targets and not codec.variable_rate:
        alone = f"{codec.config.name} has quality {codec.default_quality:g} alone"
        raise ConfigError(f"{targets[0]}: {alone}: leave --quality and targets out, or name another model")
    if refine.memory_gib is not None and not codec.strip_rows:
        raise ConfigError("--memory-limit: only our own models are refined in strips: leave it out")
    if "roi_weight" in given and "roi" not in given:
        raise ConfigError("--roi-weight: of a mask: add --roi")
    if given.get("tile") and not codec.tile_halo:
        raise ConfigError(f"--tile: pictures of {codec.config.name} are one tile: leave it out")
    given.setdefault("quality", codec.default_quality)
    config = EncodeConfig(**given, model=model, refine=refine, policy=policy, metadata=metadata)
    if config.roi and not distortion_for(replace(config, roi=None), codec).mse_share:
        mend = "leave one out" if ":" in (config.tune or "") else "add --ms-ssim 0.8"
        raise ConfigError(f"--roi: a mask weighs the mse, which has no share of the distortion (--tune): {mend}")
    codec.level(config.quality)  # raises where the quality is out of range
    distortion_for(config, codec)  # raises where the mask cannot be read
    return config


def encode_hash(codec: AnyCodec, config: EncodeConfig) -> str:
    """Return the hash of settings, weights, mask and format: equal hashes and pixels give equal files on one machine.

    Files also depend on the number of threads and, where patience ends the search, on the batch. The image policy is
    left out: `Record.policy` holds its decisions.
    """
    mask = Path(hashlib.sha256(config.roi.read_bytes()).hexdigest()) if config.roi else None
    policy = replace(STRICT, gamut=config.policy.gamut)  # which changes pixels that could be read without it
    return config_hash(replace(config, model=f"{model_id(codec).hex()}-{VERSION}", roi=mask, policy=policy))


def policy_matches(needed: dict[str, str | float | bool] | None, policy: ImagePolicy) -> bool:
    """Return whether a policy repeats the decisions that an image was read by, those of its `Record.policy`."""
    return all(getattr(policy, name, None) == value for name, value in (needed or {}).items())


def without_effort(config: EncodeConfig) -> EncodeConfig:
    """Return the settings with the default refinement: those that decide what is optimised, not for how long."""
    return replace(config, refine=RefineConfig())


def distortion_for(config: EncodeConfig, codec: AnyCodec, side: int | None = None) -> Distortion:
    """Return the distortion that the settings ask for, not yet fitted to an image.

    Args:
        side: shorter side of the image in pixels, as of `tune_of`.

    Raises:
        ConfigError: no such tuning.
        ImageError: the mask is no readable image.
    """
    weight = None
    if config.roi:
        mask = read_image(config.roi, ImagePolicy("drop", 8, config.policy.first_frame), str(config.roi))
        weight = weight_of_mask(to_tensor(mask).mean(1, keepdim=True).to(codec.device), config.roi_weight)
    tuned = tune_of(config.tune, codec, side).distortion
    if config.ms_ssim is None:
        return replace(tuned, weight=weight)
    rest = 1 - config.ms_ssim
    return replace(
        tuned,
        ms_ssim_share=config.ms_ssim,
        visual_share=rest * tuned.visual_share,
        own_share=rest * tuned.own_share,
        own=tuned.own if rest else None,
        weight=weight,
    )


def tune_for(config: EncodeConfig, codec: AnyCodec, side: int) -> Tune:
    """Return the tuning that the settings ask for, with their distortion.

    Args:
        side: shorter side of the image in pixels, as of `tune_of`.

    Raises:
        ConfigError, ImageError: as in `distortion_for`.
    """
    return replace(tune_of(config.tune, codec, side), distortion=distortion_for(config, codec, side))
