"""Target search: the quality and lmbda at which a refined file has a given size, or a given PSNR.

    quality <- where plain encoding meets the goal
    change  <- what a short refinement at that quality adds to the measured value
    quality <- where plain encoding meets the goal less `change`
    repeat, up to RUNS_MAX times:
        refine at that quality
        trim (`rdo.trim`): search on under other lmbdas;  if the file meets the goal, return it
        quality <- quality + (goal - measured) / slope

log(bytes) and PSNR are almost linear in quality, so quality is found by secants. Files are judged as written: by their
bytes, or by the PSNR of their decoded 8-bit pixels.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from codec.architecture import QUALITY_FIRST, QUALITY_LAST, on_header_grid
from codec.coding import coding_arithmetic
from codec.interface import AnyCodec
from rdo.config import RefineConfig
from rdo.distortion import Distortion, distortion_of
from rdo.measurement import Measurement
from rdo.memory import within_memory
from rdo.objective import Problem, priced
from rdo.refinement import Progress, Refined, refine
from rdo.schedules import Clock, StepCounter
from rdo.target import Goal
from rdo.trim import OperatingPoint, Trimmed, trim

PROBE_FRACTION = 0.25  # steps of the first, short refinement, as a fraction of those of one run
TOTAL_FRACTION = 1.5  # steps of probe, run and trims together, likewise
# distance from the goal of the nearest plain encoding, beyond which no lmbda leads there; bytes: log, above it alone
PLAIN_DISTANCE_MAX = {"bytes": 0.7, "psnr": 2.0, "ssimulacra2": 15.0}
SECANTS_MAX = 8
QUALITY_TOLERANCE = 0.01
QUALITY_INITIAL = 4.0
RUNS_MAX = 3  # at qualities of their own; most pictures need one


def refine_to(
    codec: AnyCodec,
    x: Tensor,
    goal: Goal,
    config: RefineConfig,
    grey: bool = False,
    progress: Progress = lambda step: None,
    distortion: Distortion | None = None,
) -> OperatingPoint:
    """Refine one image so that its file meets a goal, in about TOTAL_FRACTION times the steps of a refinement.

    Pictures whose first run ends too far from the goal, as some drawings do, take up to RUNS_MAX runs.

    Args:
        codec: frozen codec of variable rate.
        x: image (1, 3, H, W) in [0, 1], on the codec's device and unpadded.
        goal: size or PSNR.
        config: of each run; its time budget is that of all runs together.
        grey: whether the file holds a grey picture.
        progress: called with the number of each step, counted over all runs.
        distortion: to be minimised; None takes that which the codec was trained for.

    Raises:
        ConfigError: no quality in 1..8 meets the goal.
    """
    measurement = Measurement(codec, x, goal, grey, Clock(1, config.time_budget, x.device))
    counter, distortion = StepCounter(progress), distortion or distortion_of(codec)

    def refined_at(quality: float, steps: float, seconds: float) -> Refined:
        part = _part_of(config, measurement.clock, steps=steps, seconds=seconds)
        return refine(codec, x, quality, part, progress=counter.next_run(), distortion=distortion)

    quality, measured = find_plain_quality(measurement, goal.aim)
    _check_reach(goal, measured, quality)
    if config.iters:
        probe = refined_at(quality, PROBE_FRACTION, PROBE_FRACTION / TOTAL_FRACTION)
        change = measurement.measure(probe.latents, quality) - measurement.measure(probe.plain, quality)
        quality, _ = find_plain_quality(measurement, goal.aim - change)
    for _ in range(RUNS_MAX):
        refined = refined_at(quality, 1, 1 / (TOTAL_FRACTION - PROBE_FRACTION))
        start = OperatingPoint(refined, quality, codec.lmbda_of(quality))
        lmbda = torch.tensor([start.lmbda], device=x.device)
        problem = Problem(within_memory(codec, x.shape, config), x, codec.level(quality), lmbda, refined.distortion)
        trimmed = trim(measurement, problem, start, config=config, counter=counter)
        if trimmed.reached:
            point = _operating_point(problem, start, trimmed)
            refined = replace(point.refined, iters=counter.total, seconds=measurement.clock.seconds)
            return point._replace(refined=refined)
        measured = trimmed.candidate.measured
        missed, before = goal.out_of_reach(measured, quality), quality
        quality = on_header_grid(_within_scale(quality + (goal.aim - measured) / goal.slopes.quality))
        if quality == before:
            break
    raise missed


def find_plain_quality(measurement: Measurement, aim: float) -> tuple[float, float]:
    """Find the quality in 1..8 whose plain encoding measures nearest to `aim`, by secants.

    Returns:
        The quality, on the grid that a file's header holds, and what plain encoding measures there.
    """
    quality, slope, points = QUALITY_INITIAL, measurement.goal.slopes.quality, list[tuple[float, float]]()
    while True:
        measured = measurement.measure_plain(quality)
        if points and abs(quality - points[-1][0]) > 1e-3:
            rise = (measured - points[-1][1]) / (quality - points[-1][0])
            slope = rise if rise > 0 else slope
        points.append((quality, measured))
        wanted = _within_scale(quality + (aim - measured) / slope)
        if abs(wanted - quality) < QUALITY_TOLERANCE or len(points) == SECANTS_MAX:
            return on_header_grid(quality), measured
        quality = wanted


def _operating_point(problem: Problem, start: OperatingPoint, trimmed: Trimmed) -> OperatingPoint:
    """Replace the latents of a refinement by trimmed ones, and price these and the plain ones at the last lmbda."""
    problem = problem._replace(lmbda=torch.full_like(problem.lmbda, trimmed.lmbda))
    latents, plain = trimmed.candidate.latents, start.refined.plain
    with coding_arithmetic():
        cost, plain_cost = (priced(problem, each).cost for each in (latents, plain))
    refined = replace(start.refined, latents=latents, cost_est=cost, plain_cost_est=plain_cost)
    return OperatingPoint(refined, start.quality, trimmed.lmbda)


def _part_of(config: RefineConfig, clock: Clock, *, steps: float, seconds: float) -> RefineConfig:
    """Return the configuration with a fraction of its steps, and a fraction of the seconds that are left."""
    budget = clock.left and clock.left * seconds
    return replace(config, iters=math.ceil(steps * config.iters), time_budget=budget)


def _check_reach(goal: Goal, measured: float, quality: float) -> None:
    """Refuse, before any refinement, a goal that no lmbda can reach.

    Raises:
        ConfigError: plain encoding's nearest is too far from the goal.
    """
    distance = measured - goal.aim if goal.kind == "bytes" else abs(measured - goal.aim)
    if distance > PLAIN_DISTANCE_MAX[goal.kind]:
        raise goal.out_of_reach(measured, quality, "plain encoding's nearest")


def _within_scale(quality: float) -> float:
    return min(QUALITY_LAST, max(QUALITY_FIRST, quality))
