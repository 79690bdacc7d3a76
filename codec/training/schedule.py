"""How a run goes: its length, its rates and its phases, from flags or `configs/train/*.yaml`.

Everything here is a pure function of how far the run is (`progress`, 0 to 1), so that a resumed run goes on exactly
where it was.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Literal

from codec.architecture import MS_SSIM_SIDE_MIN, QUALITY_FIRST, QUALITY_LAST, STRIDE, Distortion
from codec.config_files import config_file
from codec.errors import ConfigError
from codec.settings import build, load_yaml
from codec.training.loss import Rounding

SEEDS = 1 << 16  # beside step and process they fill the 64 bits that a generator takes


@dataclass(frozen=True)
class Phase:
    """A stretch of the schedule with ways of its own.

    Attributes:
        share: its length, relative to the other phases.
        crop, batch: as in `TrainConfig`, whose values None stands for.
        distortion: what is traded against the rate, `mse` or `ms_ssim`; published weights name that of their phase.
        rounding: what the rate sees of y and z: `noise`, or `hard` for truly rounded latents (straight-through).
        lr_scale: factor on all rates.
        context: whether the context model takes part; without it the hyperprior alone prices y while the transforms
            learn. Validation always asks it, so costs are high until a phase has trained it.
    """

    share: float = 1.0
    crop: int | None = None
    batch: int | None = None
    distortion: Distortion = "mse"
    rounding: Rounding = "noise"
    lr_scale: float = 1.0
    context: bool = True


@dataclass(frozen=True)
class TrainConfig:
    """How to train. Rates are peaks of a schedule: linear warm-up, then cosine to 1 % at the end.

    Attributes:
        steps: length of the schedule, unless `time_budget` (seconds of training, over all calls) is given.
        crop, batch: side of a crop in pixels (a multiple of 64) and crops a step, over all processes.
        lr, lr_transform, lr_linear: AdamW's rates for entropy networks; nonlinear transforms; linear paths and gains.
        warmup: steps over which the rates rise to their peaks.
        clip: largest gradient norm.
        ema: decay of the averaged weights that are validated and published.
        quality_range: qualities are drawn uniformly from it.
        validate_every, save_every: seconds.
        precision: bf16 runs matrix products in bfloat16; likelihoods, GDN and softmax stay in single precision.
        phases: in order; none is one phase of the values above.
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
        if not 0 <= self.seed < SEEDS:
            raise ValueError(f"seed {self.seed} must lie in 0..{SEEDS - 1}")
        for phase in _resolved(self):
            _check(phase)

    @property
    def crops(self) -> set[int]:
        """Every crop size that some phase uses."""
        return {phase.crop for phase in _resolved(self) if phase.crop}

    @property
    def photo_side_min(self) -> int:
        """Pixels that a side of a photo must have to be validated on, in every phase."""
        structural = any(phase.distortion == "ms_ssim" for phase in self.phases)
        return MS_SSIM_SIDE_MIN if structural else 1

    @property
    def batches(self) -> set[int]:
        """Every batch size that some phase uses."""
        return {phase.batch for phase in _resolved(self) if phase.batch}


def phase_at(config: TrainConfig, progress: float) -> Phase:
    """The phase at `progress` 0..1, its crop and batch filled in."""
    phases = _resolved(config)
    left = progress * sum(phase.share for phase in phases)
    for phase in phases[:-1]:
        if left < phase.share:
            return phase
        left -= phase.share
    return phases[-1]


def rate_factor(config: TrainConfig, step: int, progress: float) -> float:
    """Warm-up times cosine times the phase's scale; 0.01 of it at the end."""
    cosine = 0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    return warm * cosine * phase_at(config, progress).lr_scale


def for_all_phases(config: TrainConfig, crop: int | None, batch: int | None) -> TrainConfig:
    """`config` with crop and batch, where given, in every phase: what a flag means.

    Raises:
        ConfigError: a value that makes no sense.
    """
    given = {name: value for name, value in (("crop", crop), ("batch", batch)) if value is not None}
    try:
        phases = tuple(replace(phase, **given) for phase in config.phases)  # type: ignore[arg-type]
        return replace(config, phases=phases, **given)  # type: ignore[arg-type]
    except ValueError as error:
        raise ConfigError(f"--{error}") from error


def named_schedule(name: str) -> TrainConfig:
    """The schedule of a name in configs/train, or of a YAML file.

    Raises:
        ConfigError: unknown name or bad file.
    """
    path = config_file(name, "train", "schedule")
    return build(TrainConfig, load_yaml(path), str(path))


def _resolved(config: TrainConfig) -> tuple[Phase, ...]:
    phases = config.phases or (Phase(),)
    return tuple(
        replace(
            phase,
            crop=config.crop if phase.crop is None else phase.crop,
            batch=config.batch if phase.batch is None else phase.batch,
        )
        for phase in phases
    )


def _check(phase: Phase) -> None:
    crop, batch = phase.crop or 0, phase.batch or 0
    if crop % STRIDE or crop < STRIDE:
        raise ValueError(f"crop {crop} is no multiple of {STRIDE}")
    if batch < 1 or min(phase.share, phase.lr_scale) <= 0:
        raise ValueError("batch, share and lr_scale must be positive")
    if phase.distortion == "ms_ssim" and crop < MS_SSIM_SIDE_MIN:
        raise ValueError(f"crop {crop}: MS-SSIM needs at least {MS_SSIM_SIDE_MIN} pixels: take 192 or more")
