"""Target search: the quality and lmbda at which a refined file has a given size, PSNR or SSIMULACRA 2 score.

    quality <- where plain encoding meets the goal
    change  <- measured value of a short refinement at that quality, minus that of plain encoding
    quality <- where plain encoding meets goal - change
    repeat, up to RUNS_MAX times:
        refine at that quality
        trim (`rdo.trim`): continue under other lmbdas;  if the file meets the goal, return it
        quality <- quality + (goal - measured) / slope

The measured value is log(bytes) of the written file, or the PSNR in dB or the score of its decoded 8-bit pixels. On
photographs all are almost linear in quality; `rdo.plain_quality` finds it there and elsewhere.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from codec.architecture import on_header_grid
from codec.coding import coding_arithmetic
from codec.interface import AnyCodec
from rdo.config import RefineConfig
from rdo.distortion import Distortion, distortion_of
from rdo.measurement import Measurement
from rdo.memory import within_memory
from rdo.objective import Problem, priced
from rdo.plain_quality import clamp_quality, find_plain_quality
from rdo.refinement import Progress, Refined, refine
from rdo.schedules import Clock, StepCounter
from rdo.target import Goal
from rdo.trim import OperatingPoint, Trimmed, trim

PROBE_FRACTION = 0.25  # steps of the first, short refinement, as a fraction of those of one run
TOTAL_FRACTION = 1.5  # steps of the short refinement, one run and its trims together, as a fraction of those of one run
# largest distance between the goal and the nearest plain encoding that refinement and lmbda can bridge: of log(bytes),
# where plain files are too large, of dB, or of points
PLAIN_DISTANCE_MAX = {"bytes": 0.7, "psnr": 2.0, "ssimulacra2": 15.0}
RUNS_MAX = 3  # each at another quality; most pictures need one


def refine_to(
    codec: AnyCodec,
    x: Tensor,
    goal: Goal,
    *,
    config: RefineConfig,
    grey: bool = False,
    progress: Progress = lambda step: None,
    distortion: Distortion | None = None,
) -> OperatingPoint:
    """Refine one image so that its file meets a goal, in about TOTAL_FRACTION times the steps of a refinement.

    A picture whose first run ends too far from the goal, such as some drawings, takes up to RUNS_MAX runs.

    Args:
        codec: frozen variable-rate codec.
        x: image (1, 3, H, W) in [0, 1], on the codec's device and unpadded.
        goal: size, PSNR or score.
        config: settings of each run, except that the time budget is shared by all.
        grey: whether the file holds a grey picture.
        progress: called with the number of each step, counted over all runs.
        distortion: to be minimised; None takes the training objective of the codec.

    Returns:
        The refinement whose file meets the goal, with its quality and lmbda.

    Raises:
        ConfigError: no quality in 1..8 meets the goal.
    """
    distortion = distortion or distortion_of(codec)
    measurement = Measurement(codec, x, goal, grey, Clock(1, config.time_budget, x.device), distortion)
    counter = StepCounter(progress)

    def refined_at(quality: float, steps_fraction: float, left_fraction: float) -> Refined:
        run = _with_budget(config, measurement.clock, steps_fraction=steps_fraction, left_fraction=left_fraction)
        return refine(codec, x, quality, config=run, progress=counter.next_run(), distortion=distortion)

    quality, measured = find_plain_quality(measurement, goal.aim)
    _check_attainable(goal, measured, quality)
    if config.iters:
        short = refined_at(quality, PROBE_FRACTION, PROBE_FRACTION / TOTAL_FRACTION)
        change = measurement.measure(short.latents, quality) - measurement.measure(short.plain, quality)
        quality, _ = find_plain_quality(measurement, goal.aim - change)
    missed = list[tuple[float, float]]()  # (measured value, quality) of runs
    for _ in range(RUNS_MAX):
        refined = refined_at(quality, 1, 1 / (TOTAL_FRACTION - PROBE_FRACTION))  # leaves seconds for the trims
        start = OperatingPoint(refined, quality, codec.lmbda_of(quality))
        lmbda = torch.tensor([start.lmbda], device=x.device)
        problem = Problem(within_memory(codec, x.shape, config), x, codec.level(quality), lmbda, refined.distortion)
        trimmed = trim(measurement, problem, start, config=config, counter=counter)
        if trimmed.reached:
            return _operating_point(problem, start, trimmed, iters=counter.total, seconds=measurement.clock.seconds)
        measured, before = trimmed.candidate.measured, quality
        missed.append((measured, quality))
        quality = on_header_grid(clamp_quality(quality + (goal.aim - measured) / goal.slopes.quality))
        if quality == before:  # an end of the scale
            break
    raise goal.out_of_reach(*min(missed, key=lambda point: abs(point[0] - goal.aim)))


def _operating_point(
    problem: Problem, start: OperatingPoint, trimmed: Trimmed, *, iters: int, seconds: float
) -> OperatingPoint:
    """Replace the latents of a refinement by trimmed ones, and compute both costs anew under the last lmbda.

    `iters` and `seconds` are those of the whole search.
    """
    problem = problem._replace(lmbda=torch.full_like(problem.lmbda, trimmed.lmbda))
    latents, plain = trimmed.candidate.latents, start.refined.plain
    with coding_arithmetic():
        cost, plain_cost = (priced(problem, each).cost for each in (latents, plain))
    refined = replace(
        start.refined, latents=latents, cost_est=cost, plain_cost_est=plain_cost, iters=iters, seconds=seconds
    )
    return OperatingPoint(refined, start.quality, trimmed.lmbda)


def _with_budget(config: RefineConfig, clock: Clock, *, steps_fraction: float, left_fraction: float) -> RefineConfig:
    """Return the configuration with a fraction of its steps, and a fraction of the seconds left on the clock."""
    seconds = None if clock.left is None else left_fraction * clock.left
    return replace(config, iters=math.ceil(steps_fraction * config.iters), time_budget=seconds)


def _check_attainable(goal: Goal, measured: float, quality: float) -> None:
    """Refuse, before any refinement, a goal that no lmbda can attain.

    Args:
        measured: value of the plain encoding nearest to the goal.
        quality: its quality.

    Raises:
        ConfigError: that value is over PLAIN_DISTANCE_MAX away from the goal.
    """
    distance = measured - goal.aim if goal.kind == "bytes" else abs(measured - goal.aim)
    if distance > PLAIN_DISTANCE_MAX[goal.kind]:
        raise goal.out_of_reach(measured, quality, "plain encoding's nearest")
