"""Training schedule: length, learning rates and phases of a run, from flags or `configs/train/*.yaml`.

Invariant: everything is a pure function of step and `progress` (0 to 1), so a resumed run continues exactly.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from codec.architecture import LINEAR_PROFILE, MS_SSIM_SIDE_MIN, QUALITY_FIRST, QUALITY_LAST, STRIDE, Metric
from codec.config_files import config_file
from codec.errors import ConfigError
from codec.settings import build, load_yaml

Rounding = Literal["noise", "hard"]

SEEDS = 1 << 16  # number of seeds; with step and rank they fill the 64 bits of a generator's seed


@dataclass(frozen=True)
class Phase:
    """Stretch of the schedule with settings of its own.

    Attributes:
        share: length, relative to the other phases.
        crop, batch: side of a crop in pixels and crops a step; None takes those of `TrainConfig`.
        distortion: metric traded against the rate, `mse` or `ms_ssim`; recorded in the published weights.
        visual_share: share 0..1 of the error to the eye (`codec.metrics.visual`) in a distortion that is else the mse.
        gain_profile: quantisation steps that are trained with (`codec.gain_profiles`), 0 the model's own.
        rounding: latents that the rate is estimated of: with `noise`, or `hard`, rounded (straight-through).
        lr_scale: factor on all learning rates.
        context: whether the context model takes part; without it the rate of y is that of the hyperprior alone.
            Validation always uses it, so costs are high until a phase has trained it.
    """

    share: float = 1.0
    crop: int | None = None
    batch: int | None = None
    distortion: Metric = "mse"
    visual_share: float = 0.0
    gain_profile: int = 0
    rounding: Rounding = "noise"
    lr_scale: float = 1.0
    context: bool = True


@dataclass(frozen=True)
class TrainConfig:
    """Training settings. Learning rates are peaks: linear warm-up, then a cosine down to 1 % at the end.

    Attributes:
        steps: length of the schedule, unless `time_budget` (seconds of training, over all calls) is given.
        crop, batch: side of a crop in pixels (a multiple of 64) and crops a step, over all processes.
        lr, lr_transform, lr_linear: AdamW's rates of entropy networks; nonlinear transforms; linear paths and gains.
        warmup: steps over which the learning rates rise to their peaks.
        clip: largest norm of the gradient, which is scaled down to it.
        ema: decay of the averaged weights that are validated and published.
        quality_range: qualities of crops are drawn uniformly from it.
        validate_every, save_every: seconds between validations, and between saved states.
        graphics_share: fraction of the crops, 0..1, cut from procedural pictures (`codec.training.graphics`).
        recolour_share: fraction of the crops, 0..1, photographs under extreme changes of colour; both shares are at
            most 1 together.
        cost_max: loss of a crop above which its gradient is scaled down to that of a crop of this loss, so that noise
            and dithers, which cost ten times what photographs do, do not lead; None scales none.
        precision: bf16 runs matrix products in bfloat16; likelihoods, GDN and softmax stay in single precision.
        phases: in order; an empty tuple is one phase with the values above.
    """

    steps: int = 20_000
    time_budget: float | None = None
    crop: int = 128
    batch: int = 4
    lr: float = 2e-3
    lr_transform: float = 1e-3
    lr_linear: float = 1e-4
    warmup: int = 200
    clip: float = 1.0
    weight_decay: float = 0.0
    ema: float = 0.999
    quality_range: tuple[float, float] = (QUALITY_FIRST, QUALITY_LAST)
    seed: int = 0
    graphics_share: float = 0.0
    recolour_share: float = 0.0
    cost_max: float | None = None
    validate_every: float = 900.0
    save_every: float = 120.0
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    phases: tuple[Phase, ...] = field(default=())

    def __post_init__(self) -> None:
        budget = 1.0 if self.time_budget is None else self.time_budget
        if min(self.steps, budget, self.lr, self.lr_transform, self.lr_linear) <= 0:
            raise ValueError("steps, time_budget and learning rates must be positive")
        if min(self.warmup, self.weight_decay, self.validate_every, self.save_every) < 0 or self.clip <= 0:
            raise ValueError("warmup, weight_decay, validate_every and save_every may not be negative, clip not 0")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema {self.ema:g} must lie in 0..1, without 1")
        if not QUALITY_FIRST <= self.quality_range[0] <= self.quality_range[1] <= QUALITY_LAST:
            raise ValueError(f"quality_range {self.quality_range} must rise within {QUALITY_FIRST:g}..{QUALITY_LAST:g}")
        if min(shares := (self.graphics_share, self.recolour_share)) < 0 or sum(shares) > 1:
            raise ValueError(f"graphics_share and recolour_share {shares} must lie in 0..1, also together")
        if self.cost_max is not None and self.cost_max <= 0:
            raise ValueError(f"cost_max {self.cost_max:g} must be positive")
        if not 0 <= self.seed < SEEDS:
            raise ValueError(f"seed {self.seed} must lie in 0..{SEEDS - 1}")
        for phase in _resolved_phases(self):
            _check_phase(phase)

    @property
    def crops(self) -> set[int]:
        """Crop sizes of all phases, in pixels."""
        return {phase.crop for phase in _resolved_phases(self) if phase.crop}

    @property
    def photo_side_min(self) -> int:
        """Smallest side, in pixels, of a photo that can be validated on in every phase."""
        structural = any(phase.distortion == "ms_ssim" for phase in self.phases)
        return MS_SSIM_SIDE_MIN if structural else 1

    @property
    def batches(self) -> set[int]:
        """Batch sizes of all phases."""
        return {phase.batch for phase in _resolved_phases(self) if phase.batch}


def phase_at(config: TrainConfig, progress: float) -> Phase:
    """Return the phase at `progress` 0..1, its crop and batch filled in."""
    phases = _resolved_phases(config)
    left = progress * sum(phase.share for phase in phases)
    for phase in phases[:-1]:
        if left < phase.share:
            return phase
        left -= phase.share
    return phases[-1]


def lr_factor(config: TrainConfig, step: int, progress: float) -> float:
    """Return the factor on all peak learning rates: warm-up times cosine (1 to 0.01) times the phase's `lr_scale`."""
    cosine = 0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    return warm * cosine * phase_at(config, progress).lr_scale


def with_crop_and_batch(config: TrainConfig, crop: int | None, batch: int | None) -> TrainConfig:
    """Return `config` with crop and batch, where not None, set in every phase, as the flags --crop and --batch do.

    Raises:
        ConfigError: a value out of range.
    """
    given = {name: value for name, value in (("crop", crop), ("batch", batch)) if value is not None}
    try:
        phases = tuple(replace(phase, **given) for phase in config.phases)  # type: ignore[arg-type]
        return replace(config, phases=phases, **given)  # type: ignore[arg-type]
    except ValueError as error:
        raise ConfigError(f"--{error}") from error


def named_schedule(name: str) -> TrainConfig:
    """Read a schedule by its name in configs/train, or from a YAML file.

    Raises:
        ConfigError: unknown name or bad file.
    """
    path = config_file(name, "train", "schedule")
    return build(TrainConfig, load_yaml(path), str(path))


def _resolved_phases(config: TrainConfig) -> tuple[Phase, ...]:
    """Return the phases, crop and batch filled in from `config`."""
    phases = config.phases or (Phase(),)
    return tuple(
        replace(
            phase,
            crop=config.crop if phase.crop is None else phase.crop,
            batch=config.batch if phase.batch is None else phase.batch,
        )
        for phase in phases
    )


def _check_phase(phase: Phase) -> None:
    """Raise ValueError for a resolved phase with values out of range."""
    crop, batch = phase.crop or 0, phase.batch or 0
    if crop % STRIDE or crop < STRIDE:
        raise ValueError(f"crop {crop} is no multiple of {STRIDE}")
    if batch < 1 or min(phase.share, phase.lr_scale) <= 0:
        raise ValueError("batch, share and lr_scale must be positive")
    if not 0 <= phase.visual_share <= 1 or (phase.visual_share and phase.distortion != "mse"):
        raise ValueError(f"visual_share {phase.visual_share:g}: a share of 0..1, in a phase whose distortion is mse")
    if not 0 <= phase.gain_profile < LINEAR_PROFILE:
        raise ValueError(f"gain_profile {phase.gain_profile} must lie in 0..{LINEAR_PROFILE - 1}")
    if phase.distortion == "ms_ssim" and crop < MS_SSIM_SIDE_MIN:
        raise ValueError(f"crop {crop}: MS-SSIM needs at least {MS_SSIM_SIDE_MIN} pixels: take 192 or more")
