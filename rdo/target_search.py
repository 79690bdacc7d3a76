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
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from codec.architecture import on_header_grid
from codec.arithmetic import coding_arithmetic
from codec.coding import plain_latents
from codec.images.pixels import from_tensor
from codec.interface import AnyCodec
from rdo.config import RefineConfig
from rdo.distortion import Distortion, distortion_of
from rdo.measurement import Measurement
from rdo.memory import within_memory
from rdo.objective import Problem
from rdo.plain_quality import clamp_quality, find_plain_quality
from rdo.refinement import Progress, Refined, begin, refine
from rdo.resuming import Store
from rdo.schedules import Clock, StepCounter
from rdo.starts import are_hard, choose_start
from rdo.target import Goal
from rdo.trim import Continuation, Continued, OperatingPoint, Repeated, Trimmed, trim

PROBE_FRACTION = 0.25  # steps of the first, short refinement, as a fraction of those of one run
TOTAL_FRACTION = 1.5  # steps of the short refinement, one run and its trims together, as a fraction of those of one run
# largest distance between the goal and the nearest plain encoding that refinement and lmbda can bridge: of log(bytes),
# where plain files are too large, of dB, or of points
PLAIN_DISTANCE_MAX = {"bytes": 0.7, "psnr": 2.0, "ssimulacra2": 15.0}
PROBED_QUALITIES = (8.0, 4.5)  # at which plain encoding shows whether a picture is hard for the networks
REPEATED_FRACTION = 1 / 3  # of the seconds left, of a run whose trims are refinements: two of these are usual
# from the goal to what the last run aims at, where none before has found a file within its bound: of log(bytes), of dB,
# or of points
LAST_RUN_MARGIN = {"bytes": -0.15, "psnr": 1.0, "ssimulacra2": 5.0}
RUNS_MAX = 3  # each at another quality; most pictures need one


class RefineAt(Protocol):
    """Refinement of a picture at a quality, under a lmbda; None is that of the quality."""

    def __call__(self, quality: float, run: RefineConfig, count: Progress, lmbda: float | None = None) -> Refined:
        """Refine with the settings `run`, calling `count` with the number of each step."""


def refine_to(
    codec: AnyCodec,
    x: Tensor,
    goal: Goal,
    *,
    config: RefineConfig,
    grey: bool = False,
    progress: Progress = lambda step: None,
    distortion: Distortion | None = None,
    store: Store | None = None,
) -> OperatingPoint:
    """Refine one image so that its file meets a goal, in about TOTAL_FRACTION times the steps of a refinement.

    A picture whose first run ends too far from the goal, such as some drawings, takes up to RUNS_MAX runs. Under
    metrics of the eye each trim is a refinement of its own: two to four times the steps in all.

    Args:
        codec: frozen variable-rate codec.
        x: image (1, 3, H, W) in [0, 1], on the codec's device and unpadded.
        goal: size, PSNR or score.
        config: settings of each run, except that the time budget is shared by all.
        grey: whether the file holds a grey picture.
        progress: called with the number of each step, counted over all runs.
        distortion: to be minimised; None takes the training objective of the codec.
        store: place that the states of its refinements are saved in; a search that was killed is done again, and those
            of its refinements that are found there go on.

    Returns:
        The refinement whose file meets the goal, with its quality, lmbda and gain profile.

    Raises:
        ConfigError: no quality in 1..8 meets the goal.
    """
    metric, clock = distortion or distortion_of(codec), Clock(1, config.time_budget, x.device)
    codec = _codec_for(codec, x, config, metric)
    measurement = Measurement(codec, from_tensor(x, grey), goal, clock, metric=metric)

    def refined_at(quality: float, run: RefineConfig, count: Progress, lmbda: float | None = None) -> Refined:
        return refine(codec, x, quality, config=run, lmbda=lmbda, progress=count, distortion=metric, store=store)

    def continuation_of(start: OperatingPoint) -> Continuation:
        lmbda = torch.tensor([start.lmbda], device=x.device)
        codec_or_strips = within_memory(codec, x.shape, config)
        problem = Problem(codec_or_strips, x, codec.level(start.quality), lmbda, start.refined.distortion)
        return Continued(codec, problem, config.seed, clock)

    return meet(measurement, refined_at, continuation_of, config=config, progress=progress)


def meet(
    measurement: Measurement,
    refined_at: RefineAt,
    continuation_of: Callable[[OperatingPoint], Continuation],
    *,
    config: RefineConfig,
    progress: Progress,
) -> OperatingPoint:
    """Search the quality at which a refinement, trimmed, meets the goal of a measurement.

    Args:
        measurement: goal, picture and codec.
        refined_at: refines the picture at a quality, with settings, calling a function with the number of each step,
            and under a lmbda; None is that of the quality.
        continuation_of: gives what trims continue a refinement by.
        config: settings of each run, except that the time budget is shared by all.
        progress: called with the number of each step, counted over all runs.

    Raises:
        ConfigError: no quality in 1..8 meets the goal.
    """
    goal, clock, counter = measurement.goal, measurement.clock, StepCounter(progress)

    def run(quality: float, steps_fraction: float, left_fraction: float) -> Refined:
        own = _with_budget(config, clock, steps_fraction=steps_fraction, left_fraction=left_fraction)
        return refined_at(quality, own, counter.next_run())

    quality, measured = find_plain_quality(measurement, goal.aim)
    _check_attainable(goal, measured, quality)
    repeats, left_fraction = False, 1 / (TOTAL_FRACTION - PROBE_FRACTION)  # leaves seconds for the trims
    if config.iters:
        short = run(quality, PROBE_FRACTION, PROBE_FRACTION / TOTAL_FRACTION)
        change = measurement.measure(short.latents, quality) - measurement.measure(short.plain, quality)
        quality, _ = find_plain_quality(measurement, goal.aim - change)
        if short.distortion.visual_share or short.distortion.own:
            repeats, left_fraction = True, REPEATED_FRACTION
    missed = list[tuple[float, float]]()  # (measured value, quality) of runs
    fallback: tuple[float, OperatingPoint] | None = None  # the nearest file within the bound, and its measured value
    for left in reversed(range(RUNS_MAX)):
        refined = run(quality, 1, left_fraction)
        codec = measurement.codec
        start = OperatingPoint(refined, quality, codec.lmbda_of(quality), codec.gain_profile)
        continuation = continuation_of(start)
        if repeats and refined.iters:
            same = replace(config, iters=refined.iters, time_budget=None)
            continuation = Repeated(continuation, partial(refined_at, quality, same))
        trimmed = trim(measurement, continuation, start, config=config, counter=counter)
        if trimmed.reached:
            return _operating_point(continuation, start, trimmed, iters=counter.total, seconds=clock.seconds)
        if trimmed.within and (fallback is None or goal.nearer(trimmed.within.measured, fallback[0])):
            found = trimmed._replace(candidate=trimmed.within)
            point = _operating_point(continuation, start, found, iters=counter.total, seconds=clock.seconds)
            fallback = trimmed.within.measured, point
        measured, before = trimmed.candidate.measured, quality
        missed.append((measured, quality))
        quality = on_header_grid(clamp_quality(quality + (goal.aim - measured) / goal.slopes.quality))
        if fallback is None and left == 1:  # the last run is to find any file
            found_at, _ = find_plain_quality(measurement, goal.aim + LAST_RUN_MARGIN[goal.kind])
            quality = min(quality, found_at) if goal.kind == "bytes" else found_at
        if quality == before:  # an end of the scale
            break
    if fallback is not None:
        return fallback[1]
    raise goal.out_of_reach(*min(missed, key=lambda point: abs(point[0] - goal.aim)))


def _operating_point(
    continuation: Continuation, start: OperatingPoint, trimmed: Trimmed, *, iters: int, seconds: float
) -> OperatingPoint:
    """Replace the latents of a refinement by trimmed ones, and compute both costs anew under the last lmbda.

    `iters` and `seconds` are those of the whole search.
    """
    latents, plain = trimmed.candidate.latents, start.refined.plain
    cost, plain_cost = (continuation.cost(each, trimmed.lmbda) for each in (latents, plain))
    refined = replace(
        start.refined, latents=latents, cost_est=cost, plain_cost_est=plain_cost, iters=iters, seconds=seconds
    )
    return OperatingPoint(refined, start.quality, trimmed.lmbda, start.gain_profile)


def _codec_for(codec: AnyCodec, x: Tensor, config: RefineConfig, distortion: Distortion) -> AnyCodec:
    """Return the codec with the linear gain profile where the image is hard for the networks.

    A search needs one profile at all qualities, as the measured value leaps between two.
    """
    if codec.linear_profile is None:
        return codec
    for quality in PROBED_QUALITIES:
        level = codec.level(quality)
        with coding_arithmetic():
            plain = plain_latents(codec, x, level)
            lmbda = torch.full_like(level, codec.lmbda_of(quality))
            problem = Problem(within_memory(codec, x.shape, config), x, level, lmbda, distortion).fitted(plain)
            hard = are_hard(codec, problem, plain, problem.distortion(plain))
        if not bool(hard):
            continue
        problem, start = begin(codec, x, quality, config=config, distortion=distortion)
        chosen = choose_start(codec, problem, start, lambda other: within_memory(other, x.shape, config))
        if chosen.profiles == [codec.linear_profile]:
            return codec.with_gain_profile(codec.linear_profile)
    return codec


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
