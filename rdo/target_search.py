"""Targets: the quality and lmbda at which a refined file has so many bytes, or so many decibels.

    quality <- where plain encoding meets the goal
    a short refinement there tells how far refining moves what is measured
    quality <- where plain encoding meets the goal less that move;  refine
    trim: refine on with another lmbda, until the file itself meets or passes the goal; mix the last two
    where no trim passes it, mix the last with the plain file at that quality
    where that is on the same side, refine again at a quality that far on

log(bytes) and PSNR are near linear in quality and in log(lmbda), so every search below is a secant. What counts in the
end is the written file and 8-bit pixels.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from codec.architecture import QUALITY_FIRST, QUALITY_LAST
from codec.bitstream.container import HEADER_BYTES, on_header_grid
from codec.coding import AnyCodec, coding_arithmetic, plain_latents, write
from codec.images.pixels import crop, from_tensor
from codec.interface import Latents, rate, rounded
from codec.model import Codec
from rdo.config import RefineConfig
from rdo.distortion import Distortion, distortion_of
from rdo.objective import Problem, priced
from rdo.rdoq import curvatures, search
from rdo.refinement import Progress, Refined, quick_arithmetic, refine
from rdo.schedules import Clock
from rdo.strips import bounded
from rdo.target import Goal

PROBE = 0.25  # of the steps, to learn what refinement changes
TRIM, TRIMS_MAX = 0.125, 5  # of the steps, each time that the file misses the goal, and how often at most
TRIM_STEPS_MIN = 5
TRIM_SHARE = 0.25  # of the latents that want to move: a trim has few steps, and none to spare for stepping back
ALL = 1.5  # times the steps of one run: what probe, run and trims take together
REACH = {"bytes": 0.7, "psnr": 2.0}  # how far plain encoding may lie from the goal: log(bytes) above it; dB
MIXES_MAX = 8  # bisections between a file on this side of the goal and one on that
SECANTS_MAX = 8
RUNS_MAX = 3  # at qualities of their own; most pictures need one


class Met(NamedTuple):
    """A refinement that meets its goal, and the quality and lmbda it took."""

    refined: Refined
    quality: float
    lmbda: float


class _Task(NamedTuple):
    """What is fixed while a goal is sought, for one image x (1, 3, H, W)."""

    codec: AnyCodec
    x: Tensor
    goal: Goal
    grey: bool
    clock: Clock

    @torch.no_grad()
    def measure(self, latents: Latents, quality: float) -> float:
        """log(bytes) of the written file, or PSNR in dB of 8-bit pixels."""
        height, width = self.x.shape[-2:]
        if self.goal.kind == "bytes":
            return math.log(len(write(self.codec, latents, width, height, quality, self.grey)))
        x_hat = crop(self.codec.synthesise(latents, self.codec.level(quality)), height, width)
        found, wanted = (from_tensor(x, self.grey).data.astype(np.float64) for x in (x_hat, self.x))
        return 10 * math.log10(255**2 / max(1e-9, np.square(found - wanted).mean()))

    @torch.no_grad()
    def measure_plain(self, quality: float) -> float:
        """The same of plain encoding, bytes by our model's estimate; others' coders are quick, and pay for more."""
        level = self.codec.level(quality)
        latents = plain_latents(self.codec, self.x, level)
        if self.goal.kind == "psnr" or not isinstance(self.codec, Codec):
            return self.measure(latents, quality)
        bits = sum(rate(self.codec, latents, level))
        return math.log(float(bits) / 8 + HEADER_BYTES)


def refine_to(
    codec: AnyCodec,
    x: Tensor,
    goal: Goal,
    config: RefineConfig,
    grey: bool = False,
    progress: Progress = lambda step: None,
    measure: Distortion | None = None,
) -> Met:
    """Refine one image x (1, 3, H, W) in [0, 1] so that its file meets a goal, in about 1.5 times the steps.

    In more where the first run ends too far off, as on some drawings.

    Args:
        grey: whether the file holds a grey picture.
        progress: called with the number of each step of all runs.
        measure: of distortion; None takes what the codec was trained for.

    Raises:
        ConfigError: no quality in 1..8 meets the goal.
    """
    task, counter = _Task(codec, x, goal, grey, Clock(1, config.time_budget, x.device)), _Counter(progress)
    distortion = measure or distortion_of(codec)

    def refined_at(quality: float, steps: float, seconds: float) -> Refined:
        return refine(codec, x, quality, _share(task, config, steps, seconds), None, counter.add(), distortion)

    quality, measured = _plain_quality(task, goal.aim)
    _check_reach(goal, measured, quality)
    if config.iters:
        probe = refined_at(quality, PROBE, PROBE / ALL)
        move = task.measure(probe.latents, quality) - task.measure(probe.plain, quality)
        quality, _ = _plain_quality(task, goal.aim - move)
    for _ in range(RUNS_MAX):
        start = Met(refined_at(quality, 1, 1 / (ALL - PROBE)), quality, codec.lmbda_of(quality))
        lmbda = torch.tensor([start.lmbda], device=x.device)
        problem = Problem(bounded(codec, x.shape, config), x, codec.level(quality), lmbda, distortion)
        met = _trim(task, problem, config, start, counter)
        if isinstance(met, Met):
            return met._replace(refined=replace(met.refined, iters=counter.total, seconds=task.clock.seconds))
        missed, before = goal.out_of_reach(met, quality), quality
        quality = on_header_grid(_on_scale(quality + (goal.aim - met) / goal.slopes[0]))
        if quality == before:
            break
    raise missed


def _share(task: _Task, config: RefineConfig, steps: float, seconds: float) -> RefineConfig:
    """Shares of all steps, and of the seconds that are left."""
    budget = task.clock.left and task.clock.left * seconds
    return replace(config, iters=math.ceil(steps * config.iters), time_budget=budget)


def _trim_steps(config: RefineConfig, pace: float, left: float | None) -> int:
    """Of the next trim: a few at least, for the file must meet its goal, however little time is left."""
    steps = math.ceil(TRIM * config.iters)
    return max(TRIM_STEPS_MIN, steps if left is None else min(steps, int(left / pace)))


def _check_reach(goal: Goal, measured: float, quality: float) -> None:
    """Before any refinement: refuse what no lmbda will bring back into reach.

    Raises:
        ConfigError: plain encoding at the end of the scale is too far from the goal.
    """
    off = measured - goal.aim
    beyond = off > REACH[goal.kind] if goal.kind == "bytes" else abs(off) > REACH[goal.kind]
    if beyond:
        raise goal.out_of_reach(measured, quality, "plain encoding's nearest")


def _on_scale(quality: float) -> float:
    return min(QUALITY_LAST, max(QUALITY_FIRST, quality))


def _plain_quality(task: _Task, aim: float) -> tuple[float, float]:
    """The quality 1..8 whose plain encoding comes nearest to `aim`, and what it measures, or nearly."""
    quality, slope, tried = 4.0, task.goal.slopes[0], list[tuple[float, float]]()
    while True:
        measured = task.measure_plain(quality)
        if tried and abs(quality - tried[-1][0]) > 1e-3:
            rise = (measured - tried[-1][1]) / (quality - tried[-1][0])
            slope = rise if rise > 0 else slope
        tried.append((quality, measured))
        wanted = _on_scale(quality + (aim - measured) / slope)
        if abs(wanted - quality) < 0.01 or len(tried) == SECANTS_MAX:
            return on_header_grid(quality), measured
        quality = wanted


def _trim(task: _Task, problem: Problem, config: RefineConfig, start: Met, counter: "_Counter") -> Met | float:
    """Search on from a refinement under other lmbdas until its file meets the goal or has passed it, then mix both.

    Where no such file is found, what the last one measures.
    """
    refined, quality, lmbda = start
    goal, latents, spare, bend = task.goal, refined.latents, None, None
    pace = refined.seconds / max(1, refined.iters)
    measured = task.measure(latents, quality)
    at_best = goal.kind == "bytes" and quality == QUALITY_LAST
    roomy = at_best and task.measure(refined.plain, quality) < goal.aim

    def settled() -> bool:
        """Met, or below a ceiling that even plain encoding at the highest quality does not fill."""
        return goal.met(measured) or (roomy and measured < goal.aim)

    def consider() -> None:
        """For the case that no better is found."""
        nonlocal spare
        if goal.will_do(measured) and (spare is None or measured > spare[1]):
            spare = latents, measured

    for reach in (1.5 * 2**trim for trim in range(TRIMS_MAX)):
        if settled():
            break
        if bend is None:
            generator = torch.Generator(problem.x.device).manual_seed(config.seed)
            bend = curvatures(problem, latents, generator, Clock(1, task.clock.left, problem.x.device))
        lmbda *= math.exp(max(-0.7, min(0.7, reach * (goal.aim - measured) / goal.slopes[1])))
        problem = problem._replace(lmbda=torch.full_like(problem.lmbda, lmbda))
        steps = _trim_steps(config, pace, task.clock.left)
        before = latents, measured
        bend_now = bend._replace(y=bend.y * (lmbda / start.lmbda))
        latents = _trimmed(task, problem, config, latents, bend_now, steps, counter.add())
        measured = task.measure(latents, quality)
        if (before[1] - goal.aim) * (measured - goal.aim) < 0:
            latents, measured = _between(task, quality, before, (latents, measured))
        consider()
    if not settled():
        of_plain = task.measure(refined.plain, quality)
        if (of_plain - goal.aim) * (measured - goal.aim) < 0:
            latents, measured = _between(task, quality, (latents, measured), (refined.plain, of_plain))
        consider()
    if not settled():
        if spare is None:
            return measured
        latents, _ = spare
    with coding_arithmetic():
        best, plain = (priced(problem, found).cost for found in (latents, refined.plain))
    return Met(replace(refined, latents=latents, cost_est=best, plain_cost_est=plain), quality, lmbda)


def _trimmed(
    task: _Task, problem: Problem, config: RefineConfig, latents: Latents, bend: Latents, steps: int, progress: Progress
) -> Latents:
    """A few steps of search without heat, few latents at a time; `bend` is their curvature."""
    cold = replace(
        config, temperature_bits=0.0, patience=0, move_fraction_start=TRIM_SHARE, move_fraction_end=TRIM_SHARE
    )
    with quick_arithmetic(task.codec, config):
        return search(problem, priced(problem, latents), cold, Clock(steps, None), progress, bend).latents


def _between(
    task: _Task, quality: float, before: tuple[Latents, float], after: tuple[Latents, float]
) -> tuple[Latents, float]:
    """Latents on either side of the goal, each with its measure, mixed: a share of those that differ, by bisection."""
    generator = torch.Generator(task.x.device).manual_seed(0)
    order = Latents(*(torch.rand(v.shape, generator=generator, device=v.device) for v in before[0]))
    rising = after[1] > task.goal.aim
    low, high = 0.0, 1.0
    below = before if rising else after
    for _ in range(MIXES_MAX):
        share = (low + high) / 2
        mixed = Latents(*(torch.where(o < share, a, b) for o, a, b in zip(order, after[0], before[0], strict=True)))
        mixed = rounded(mixed, task.codec.grid(mixed, task.codec.level(quality)))  # where z moves the grid of y
        measured = task.measure(mixed, quality)
        if task.goal.met(measured):
            return mixed, measured
        over = measured > task.goal.aim
        low, high = (low, share) if over == rising else (share, high)
        below = below if over else (mixed, measured)
    return below


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
