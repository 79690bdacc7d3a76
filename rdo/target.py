"""Targets: the quality and lmbda at which a refined file has so many bytes, or so many decibels.

    quality <- where plain encoding meets the goal
    a short refinement there tells how far refining moves what is measured
    quality <- where plain encoding meets the goal less that move;  refine
    trim: refine on with another lmbda, until the file itself meets or passes the goal; mix the last two

log(bytes) and PSNR are near linear in quality and in log(lmbda), so every search below is a secant. What counts in the
end is the written file and 8-bit pixels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from codec.architecture import QUALITY_FIRST, QUALITY_LAST, lmbda_of
from codec.bitstream import on_header_grid
from codec.coding import quality_tensor, round_latents, write
from codec.errors import ConfigError
from codec.image import crop, pad
from codec.model import STRIDE, Codec, Latents
from rdo.config import RefineConfig
from rdo.objective import Best, Problem
from rdo.rdoq import search
from rdo.refine import Progress, Refined, refine
from rdo.schedules import Clock

Kind = Literal["bytes", "psnr"]
PROBE = 0.25  # of the steps, to learn what refinement changes
TRIM, TRIMS_MAX = 0.125, 5  # of the steps, each time that the file misses the goal, and how often at most
MIXES_MAX = 8  # bisections between a file on this side of the goal and one on that
SECANTS_MAX = 8


@dataclass(frozen=True)
class Goal:
    """What the file shall measure: a `psnr` in dB, to 0.05; or `bytes` at most, and less by at most 1 % or two words.

    A file grows by words of four bytes.
    """

    kind: Kind
    value: float

    def __post_init__(self) -> None:
        if not 0 < self.value < math.inf:
            raise ValueError(f"target {self.value:g}: must be positive")

    @property
    def aim(self) -> float:
        """What is aimed at, on the scale of `measure`; a ceiling is aimed at from below."""
        return math.log(max(0.995 * self.value - 2, 1)) if self.kind == "bytes" else self.value

    def met(self, measured: float) -> bool:
        """Whether a measured file is good enough."""
        if self.kind == "psnr":
            return abs(measured - self.value) <= 0.05
        return min(0.99 * self.value, self.value - 8) <= round(math.exp(measured)) <= self.value

    @property
    def slopes(self) -> tuple[float, float]:
        """First guess of the rise of what is measured with quality, and with log(lmbda) at a quality."""
        return (0.24, 0.3) if self.kind == "bytes" else (1.2, 1.0)


class Met(NamedTuple):
    """A refinement that meets its goal, and the quality and lmbda it took."""

    refined: Refined
    quality: float
    lmbda: float


def refine_to(
    codec: Codec,
    x: Tensor,
    goal: Goal,
    config: RefineConfig,
    grey: bool = False,
    progress: Progress = lambda step: None,
) -> Met:
    """Refine one image x (1, 3, H, W) in [0, 1] so that its file meets a goal, in about 1.5 times the steps.

    Raises:
        ConfigError: no quality in 1..8 meets it.
    """
    counter = _Counter(progress)
    quality = _plain_quality(codec, x, goal, goal.aim)
    if config.iters:
        probe = refine(codec, x, quality, replace(config, iters=math.ceil(PROBE * config.iters)), None, counter.add())
        move = _measure(codec, x, probe.latents, quality, goal, grey) - _measure(
            codec, x, probe.plain, quality, goal, grey
        )
        quality = _plain_quality(codec, x, goal, goal.aim - move)
    refined = refine(codec, x, quality, config, None, counter.add())
    return _trim(codec, x, goal, config, grey, Met(refined, quality, lmbda_of(quality)), counter)


def _trim(
    codec: Codec, x: Tensor, goal: Goal, config: RefineConfig, grey: bool, start: Met, counter: "_Counter"
) -> Met:
    """Search on from a refinement under other lmbdas until its file meets the goal or has passed it, then mix both."""
    refined, quality, lmbda = start
    problem = Problem(codec, x, quality_tensor(codec, quality), torch.tensor([lmbda], device=x.device))
    cold = replace(config, heat=0.0)
    measured = _measure(codec, x, refined.latents, quality, goal, grey)
    reach = 1.5
    for _ in range(TRIMS_MAX):
        if goal.met(measured):
            break
        lmbda *= math.exp(max(-0.7, min(0.7, reach * (goal.aim - measured) / goal.slopes[1])))
        reach *= 2
        problem = problem._replace(lmbda=torch.full_like(problem.lmbda, lmbda))
        clock = Clock(max(2, math.ceil(TRIM * config.iters)), None)
        found = search(problem, _priced(problem, refined.latents), cold, clock, counter.add()).latents
        before, measured = measured, _measure(codec, x, found, quality, goal, grey)
        if (before - goal.aim) * (measured - goal.aim) < 0:
            found, measured = _between(codec, x, goal, quality, grey, refined.latents, found)
        refined = replace(
            refined, latents=found, iters=refined.iters + clock.step, seconds=refined.seconds + clock.seconds
        )
    if not goal.met(measured):
        near = f"{math.exp(measured):.0f} bytes" if goal.kind == "bytes" else f"{measured:.2f} dB"
        raise ConfigError(
            f"target {goal.value:g} {goal.kind}: out of reach; the nearest is {near}, quality {quality:.2f}"
        )
    costs = (_priced(problem, latents).cost for latents in (refined.latents, refined.plain))
    refined = replace(refined, cost_est=next(costs), plain_cost_est=next(costs))
    return Met(refined, quality, lmbda)


def _between(
    codec: Codec, x: Tensor, goal: Goal, quality: float, grey: bool, before: Latents, after: Latents
) -> tuple[Latents, float]:
    """Latents on either side of the goal, mixed: a share of those that differ, found by bisection."""
    generator = torch.Generator(x.device).manual_seed(0)
    order = Latents(*(torch.rand(v.shape, generator=generator, device=v.device) for v in before))
    rising = _measure(codec, x, after, quality, goal, grey) > goal.aim
    low, high = 0.0, 1.0
    for _ in range(MIXES_MAX):
        share = (low + high) / 2
        mixed = Latents(*(torch.where(o < share, a, b) for o, a, b in zip(order, after, before, strict=True)))
        measured = _measure(codec, x, mixed, quality, goal, grey)
        if goal.met(measured):
            break
        low, high = (low, share) if (measured > goal.aim) == rising else (share, high)
    return mixed, measured


@torch.no_grad()
def _priced(problem: Problem, latents: Latents) -> Best:
    return Best(latents, problem.cost(latents))


def _plain_quality(codec: Codec, x: Tensor, goal: Goal, aim: float) -> float:
    """The quality 1..8 whose plain encoding comes nearest to `aim`, by the model's estimate of rate."""
    quality, slope, last = 4.0, goal.slopes[0], None
    for _ in range(SECANTS_MAX):
        measured = _plain_measure(codec, x, quality, goal)
        if (
            last is not None
            and abs(quality - last[0]) > 1e-3
            and (found := (measured - last[1]) / (quality - last[0])) > 0
        ):
            slope = found
        wanted = min(QUALITY_LAST, max(QUALITY_FIRST, quality + (aim - measured) / slope))
        last = quality, measured
        if abs(wanted - quality) < 0.01:
            break
        quality = wanted
    return on_header_grid(quality)


@torch.no_grad()
def _plain_measure(codec: Codec, x: Tensor, quality: float, goal: Goal) -> float:
    level = quality_tensor(codec, quality)
    latents = round_latents(codec.analyse(pad(x, STRIDE), level))
    if goal.kind == "psnr":
        return _psnr_db(codec, x, latents, level)
    return math.log(float(sum(codec.rate(latents.y, latents.y, latents.z, latents.z, level))) / 8 + 24)


def _measure(codec: Codec, x: Tensor, latents: Latents, quality: float, goal: Goal, grey: bool) -> float:
    """log(bytes) of the written file, or PSNR in dB of 8-bit pixels."""
    if goal.kind == "psnr":
        return _psnr_db(codec, x, latents, quality_tensor(codec, quality))
    return math.log(len(write(codec, latents, x.shape[-1], x.shape[-2], quality, grey)))


@torch.no_grad()
def _psnr_db(codec: Codec, x: Tensor, latents: Latents, level: Tensor) -> float:
    x_hat = crop(codec.synthesise(latents.y, level), *x.shape[-2:]).clamp(0, 1).mul(255).round()
    return 10 * math.log10(255**2 / max(1e-9, float((x_hat - 255 * x).square().mean())))


class _Counter:
    """Numbers the steps of several runs on end."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.total = progress, 0

    def add(self) -> Callable[[int], None]:
        """Progress for the next run."""
        base = self.total

        def count(step: int) -> None:
            self.total = base + step
            self.progress(self.total)

        return count
