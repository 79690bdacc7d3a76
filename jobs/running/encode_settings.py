"""What decides the bytes of an encoded file, besides its picture and the model's weights."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

from codec.bitstream.container import VERSION
from codec.errors import ConfigError
from codec.identity import model_id
from codec.images.pixels import to_tensor
from codec.images.read import STRICT, ImagePolicy, read_image
from codec.interface import AnyCodec
from codec.settings import config_hash
from rdo.config import RefineConfig
from rdo.distortion import Distortion, distortion_of, weight_of_mask
from rdo.target import Goal


@dataclass(frozen=True)
class EncodeConfig:
    """All that decides the bytes of a file, besides its picture and the model's weights.

    `lmbda` None takes the one that fits the quality; a target, in the unit that its name says, replaces both. `ms_ssim`
    None takes what the model was trained for.
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

    def __post_init__(self) -> None:
        if self.lmbda is not None and not 0 < self.lmbda < float("inf"):
            raise ConfigError(f"lmbda {self.lmbda}: must be positive; the range of quality 1..8 is 0.002..0.058")
        targets = [t for t in (self.target_bytes, self.target_bpp, self.target_psnr) if t is not None]
        if len(targets) > 1 or (targets and self.lmbda is not None):
            raise ConfigError("give one of target_bytes, target_bpp, target_psnr and lmbda: each settles the others")
        if any(not 0 < target < float("inf") for target in targets):
            raise ConfigError(f"target {targets[0]}: must be positive and finite")
        if self.ms_ssim is not None and not 0 <= self.ms_ssim <= 1:
            raise ConfigError(f"ms_ssim {self.ms_ssim}: a share of the distortion, between 0 (mse alone) and 1")
        if not 1e-6 <= self.roi_weight <= 1e6:  # beyond, float32 loses the black or the white of a mask
            raise ConfigError(f"roi_weight {self.roi_weight:g}: must lie between 1e-6 and 1e6")

    @property
    def targeted(self) -> bool:
        """Whether a target settles the rate."""
        return self.goal(1) is not None

    def goal(self, pixels: int) -> Goal | None:
        """What a file of so many pixels shall measure, if a target was given."""
        if self.target_psnr is not None:
            return Goal("psnr", self.target_psnr)
        if self.target_bpp is not None:
            return Goal("bytes", self.target_bpp * pixels / 8)
        return None if self.target_bytes is None else Goal("bytes", self.target_bytes)


def encode_hash(codec: AnyCodec, config: EncodeConfig) -> str:
    """Hash of settings, weights, mask and format: equal hashes and pixels give equal files on one machine.

    Of one number of threads, that is; and in one batch, where patience ends it. What the policy makes of a picture is
    no part of it: `Record.policy` has that.
    """
    mask = Path(hashlib.sha256(config.roi.read_bytes()).hexdigest()) if config.roi else None
    return config_hash(replace(config, model=f"{model_id(codec).hex()}-{VERSION}", roi=mask, policy=STRICT))


def suits(needed: dict[str, str | int | bool] | None, policy: ImagePolicy) -> bool:
    """Whether a policy makes the decisions that a picture needed, see `Record.policy`, in the same way."""
    return all(getattr(policy, name, None) == value for name, value in (needed or {}).items())


def aim_of(config: EncodeConfig) -> EncodeConfig:
    """The settings without the effort: what a file is to reach, however long it takes."""
    return replace(config, refine=RefineConfig())


def distortion_asked(config: EncodeConfig, codec: AnyCodec) -> Distortion:
    """What the settings ask to be optimised.

    Raises:
        ImageError: the mask is no readable picture.
    """
    weight = None
    if config.roi:
        mask = read_image(config.roi, ImagePolicy("drop", 8, config.policy.first_frame), str(config.roi))
        weight = weight_of_mask(to_tensor(mask).mean(1, keepdim=True).to(codec.device), config.roi_weight)
    return Distortion(share_of_ms_ssim(config, codec), weight)


def share_of_ms_ssim(config: EncodeConfig, codec: AnyCodec) -> float:
    """Of the distortion, 0..1."""
    return distortion_of(codec).ms_ssim_share if config.ms_ssim is None else config.ms_ssim
