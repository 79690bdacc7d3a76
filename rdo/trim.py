"""Trims: short searches under another lmbda at a fixed quality, until a refined file meets its goal.

    lmbda *= exp(gain * (aim - measured) / slope);  search on for a few steps at temperature 0;  measure the file
    where the goal lies between the last two files, mix them
    after the last trim, mix with the plain file where the goal lies between the two

Near the goal the measured value is almost linear in log(lmbda), hence the secant; the gain doubles with each trim, as
few steps realise only a part of what a change of lmbda asks for.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import torch

from codec.architecture import QUALITY_LAST
from codec.interface import Latents
from rdo.config import RefineConfig
from rdo.curvature import curvature_of
from rdo.measurement import Candidate, Measurement
from rdo.objective import Problem, priced
from rdo.rdoq import search
from rdo.refinement import Refined, search_arithmetic
from rdo.schedules import Clock, StepCounter
from rdo.target import Goal

TRIM_GAINS = (1.5, 3.0, 6.0, 12.0, 24.0)
LOG_LMBDA_STEP_MAX = 0.7
TRIM_FRACTION = 0.125  # steps of a trim, as a fraction of those of the refinement
TRIM_STEPS_MIN = 5
TRIM_MOVE_FRACTION = 0.25  # a trim has few steps, and none to spare for rejected ones


class OperatingPoint(NamedTuple):
    """Refinement at a quality and a lmbda."""

    refined: Refined
    quality: float
    lmbda: float


class Trimmed(NamedTuple):
    """Outcome of the trims of one refinement.

    Attributes:
        candidate: latents to write if `reached`, else the last ones tried.
        lmbda: of the last trim.
        reached: whether the file meets the goal, or is acceptable where none meets it.
    """

    candidate: Candidate
    lmbda: float
    reached: bool


def trim(
    measurement: Measurement, problem: Problem, start: OperatingPoint, *, config: RefineConfig, counter: StepCounter
) -> Trimmed:
    """Search on from a refinement under other lmbdas, and mix latents, until the file meets the goal.

    Args:
        problem: of the refinement at `start`.
        config: of the refinement at `start`.
        counter: of the steps of all runs.

    Returns:
        The first file that meets the goal; where none does, the largest acceptable one; else a miss.
    """
    goal, quality, plain = measurement.goal, start.quality, start.refined.plain
    candidate = measurement.candidate(start.refined.latents, quality)
    at_top = goal.kind == "bytes" and quality == QUALITY_LAST
    # a ceiling that not even plain encoding fills at the highest quality is met by any file below it
    unfillable = at_top and measurement.measure(plain, quality) < goal.aim

    def done() -> bool:
        return goal.met(candidate.measured) or (unfillable and candidate.measured < goal.aim)

    trimmer, fallback = _Trimmer(measurement, problem, start, config, counter), None
    for gain in TRIM_GAINS:
        if done():
            break
        previous, candidate = candidate, trimmer.step(candidate, gain)
        if goal.between(previous.measured, candidate.measured):
            candidate = measurement.interpolate(previous, candidate, quality)
        fallback = _larger_acceptable(goal, fallback, candidate)
    if not done():
        of_plain = measurement.candidate(plain, quality)
        if goal.between(of_plain.measured, candidate.measured):
            candidate = measurement.interpolate(candidate, of_plain, quality)
        fallback = _larger_acceptable(goal, fallback, candidate)
    if not done() and fallback is not None:
        return Trimmed(fallback, trimmer.lmbda, True)
    return Trimmed(candidate, trimmer.lmbda, done())


def _larger_acceptable(goal: Goal, fallback: Candidate | None, candidate: Candidate) -> Candidate | None:
    """Choose the larger of two files, if the candidate is acceptable though it misses the goal."""
    if not goal.acceptable(candidate.measured):
        return fallback
    return candidate if fallback is None or candidate.measured > fallback.measured else fallback


class _Trimmer:
    """Trims in a row, each under the lmbda that the one before arrived at."""

    def __init__(
        self,
        measurement: Measurement,
        problem: Problem,
        start: OperatingPoint,
        config: RefineConfig,
        counter: StepCounter,
    ) -> None:
        self.measurement, self.problem, self.start = measurement, problem, start
        self.config, self.counter = config, counter
        self.lmbda = start.lmbda
        self.curvature: Latents | None = None  # under the lmbda of the start, measured by the first trim

    def step(self, candidate: Candidate, gain: float) -> Candidate:
        """Change lmbda towards the goal, and search on for a few steps at temperature 0."""
        if self.curvature is None:
            self.curvature = self._measured_curvature(candidate.latents)
        goal = self.measurement.goal
        change = gain * (goal.aim - candidate.measured) / goal.slopes.log_lmbda
        self.lmbda *= math.exp(max(-LOG_LMBDA_STEP_MAX, min(LOG_LMBDA_STEP_MAX, change)))
        problem = self.problem._replace(lmbda=torch.full_like(self.problem.lmbda, self.lmbda))
        curvature = self.curvature._replace(y=self.curvature.y * (self.lmbda / self.start.lmbda))
        config = replace(
            self.config,
            temperature_bits=0.0,
            patience=0,
            move_fraction_start=TRIM_MOVE_FRACTION,
            move_fraction_end=TRIM_MOVE_FRACTION,
        )
        clock, progress = Clock(self._steps(), None), self.counter.next_run()
        with search_arithmetic(self.measurement.codec, config):
            best = priced(problem, candidate.latents)
            found = search(problem, best, config, clock=clock, progress=progress, curvature=curvature)
        return self.measurement.candidate(found.latents, self.start.quality)

    def _measured_curvature(self, latents: Latents) -> Latents:
        device = self.problem.x.device
        generator = torch.Generator(device).manual_seed(self.config.seed)
        clock = Clock(1, self.measurement.clock.left, device)
        return curvature_of(self.problem, latents, generator=generator, clock=clock)

    def _steps(self) -> int:
        """Return the steps of the next trim: a few at least, as the goal is to be met even when no time is left."""
        steps, left = math.ceil(TRIM_FRACTION * self.config.iters), self.measurement.clock.left
        if left is not None:
            step_seconds = self.start.refined.seconds / max(1, self.start.refined.iters)
            steps = min(steps, int(left / step_seconds))
        return max(TRIM_STEPS_MIN, steps)
