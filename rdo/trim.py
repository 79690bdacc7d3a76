"""Trims: short further searches under another lmbda, at a fixed quality, until a refined file meets its goal.

A trim is a few steps of the discrete search (`rdo.rdoq`) at temperature 0 that start from the latents at hand:

    lmbda *= exp(gain * (aim - measured) / slope);  search;  measure the file
    where the goal lies between the last two files, take some latents from one and some from the other
    after the last trim, do the same with the plain file where the goal lies between the two

Under metrics of the eye, which the search does not lower, a trim is a whole refinement under the other lmbda.

Near the goal the measured value, log(bytes) or PSNR, is almost linear in log(lmbda), hence the division by a slope. The
gain doubles with each trim, as few steps make only a part of the change that a change of lmbda calls for.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, Protocol

import torch

from codec.architecture import QUALITY_LAST
from codec.arithmetic import coding_arithmetic
from codec.interface import Latents, Refinable
from rdo.config import RefineConfig
from rdo.curvature import curvature_of
from rdo.measurement import Candidate, Measurement
from rdo.objective import Cost, Problem, priced
from rdo.rdoq import search
from rdo.refinement import Progress, Refined, search_arithmetic
from rdo.schedules import Clock, StepCounter
from rdo.target import Goal

TRIM_GAINS = (1.5, 3.0, 6.0, 12.0, 24.0)  # one for each trim
LOG_LMBDA_STEP_MAX = 0.7  # largest change of log(lmbda) in one trim
TRIM_FRACTION = 0.125  # steps of a trim, as a fraction of those of the refinement
TRIM_STEPS_MIN = 5
TRIM_MOVE_FRACTION = 0.25  # low, so that steps are seldom rejected: a trim has few


class OperatingPoint(NamedTuple):
    """Refinement at a quality and a lmbda, with a gain profile."""

    refined: Refined
    quality: float
    lmbda: float
    gain_profile: int = 0


class Trimmed(NamedTuple):
    """Outcome of the trims of one refinement.

    Attributes:
        candidate: latents to write if `reached`, else the last ones tried.
        lmbda: weight of the distortion in the last trim.
        reached: whether the file meets the goal, or is acceptable though no file tried meets it.
        within: the nearest file tried that is not above a ceiling, or not below a quality; None where there is none.
    """

    candidate: Candidate
    lmbda: float
    reached: bool
    within: Candidate | None = None


class Continuation(Protocol):
    """Refinement that can go on under another lmbda."""

    def search(
        self, latents: Latents, lmbda: float, *, config: RefineConfig, clock: Clock, progress: Progress
    ) -> Latents:
        """Search on from rounded latents and return the best found."""

    def cost(self, latents: Latents, lmbda: float) -> Cost:
        """Return the cost (1,) of rounded latents."""


class Continued(Continuation):
    """Continuation of the refinement of a picture that is one tile.

    Its curvature is estimated once, under the lmbda of the refinement.
    """

    def __init__(self, codec: Refinable, problem: Problem, seed: int, time: Clock) -> None:
        self.codec, self.problem, self.seed, self.time = codec, problem, seed, time
        self.curvature: Latents | None = None

    def search(
        self, latents: Latents, lmbda: float, *, config: RefineConfig, clock: Clock, progress: Progress
    ) -> Latents:
        """Search on from rounded latents and return the best found."""
        if self.curvature is None:
            device = self.problem.x.device
            generator = torch.Generator(device).manual_seed(self.seed)
            limit = Clock(1, self.time.left, device)
            self.curvature = curvature_of(self.problem, latents, generator=generator, clock=limit)
        # of y it is the curvature of lmbda * distortion
        curvature = self.curvature._replace(y=self.curvature.y * (lmbda / float(self.problem.lmbda)))
        problem = self._at(lmbda)
        with search_arithmetic(self.codec, config):
            best = priced(problem, latents)
            return search(problem, best, config, clock=clock, progress=progress, curvature=curvature).latents

    def cost(self, latents: Latents, lmbda: float) -> Cost:
        """Return the cost (1,) of rounded latents."""
        with coding_arithmetic():
            return priced(self._at(lmbda), latents).cost

    def _at(self, lmbda: float) -> Problem:
        return self.problem._replace(lmbda=torch.full_like(self.problem.lmbda, lmbda))


class Repeated(Continuation):
    """Continuation by a whole refinement, where trims by the discrete search find nothing, as under metrics of the eye.

    Args:
        continuation: that it stands in for.
        refined: refines from plain encoding, calling a function with the number of each step, under a lmbda.
    """

    def __init__(self, continuation: Continuation, refined: Callable[[Progress, float], Refined]) -> None:
        self.continuation, self.refined = continuation, refined

    def search(
        self,
        latents: Latents,  # noqa: ARG002
        lmbda: float,
        *,
        config: RefineConfig,  # noqa: ARG002
        clock: Clock,  # noqa: ARG002
        progress: Progress,
    ) -> Latents:
        """Refine anew, whatever the latents at hand."""
        return self.refined(progress, lmbda).latents

    def cost(self, latents: Latents, lmbda: float) -> Cost:
        """Return the cost (1,) of rounded latents."""
        return self.continuation.cost(latents, lmbda)


def trim(
    measurement: Measurement,
    continuation: Continuation,
    start: OperatingPoint,
    *,
    config: RefineConfig,
    counter: StepCounter,
) -> Trimmed:
    """Continue a refinement under other lmbdas, and interpolate between files, until one meets the goal.

    Args:
        measurement: goal, picture and codec.
        continuation: of the refinement `start`.
        start: refinement to continue.
        config: settings of that refinement.
        counter: counter of steps, shared by all runs.

    Returns:
        The first file that meets the goal; else the largest acceptable one; else the last, with `reached` False, and
        the nearest within the goal's bound.
    """
    goal, quality, plain = measurement.goal, start.quality, start.refined.plain
    candidate = measurement.candidate(start.refined.latents, quality)
    at_top = goal.kind == "bytes" and quality == QUALITY_LAST
    # where even plain encoding at the highest quality stays below the ceiling of bytes, any file below it will do
    ceiling_above_scale = at_top and measurement.measure(plain, quality) < goal.aim

    def done() -> bool:
        return goal.met(candidate.measured) or (ceiling_above_scale and candidate.measured < goal.aim)

    trimmer = _Trimmer(measurement, continuation, start, config, counter)
    within = _nearer_within(goal, None, candidate)
    for gain in TRIM_GAINS:
        if done():
            break
        previous, candidate = candidate, trimmer.step(candidate, gain)
        if goal.between(previous.measured, candidate.measured):
            candidate = measurement.interpolate(previous, candidate, quality)
        within = _nearer_within(goal, within, candidate)
    if not done() and isinstance(continuation, Repeated) and within is not None and goal.acceptable(within.measured):
        return Trimmed(within, trimmer.lmbda, True)  # a part of plain encoding would cost more than these bytes
    if not done():
        plain_candidate = measurement.candidate(plain, quality)
        if goal.between(plain_candidate.measured, candidate.measured):
            candidate = measurement.interpolate(candidate, plain_candidate, quality)
        within = _nearer_within(goal, within, candidate)
        within = _nearer_within(goal, _nearer_within(goal, within, plain_candidate), candidate)
    if not done() and within is not None and goal.acceptable(within.measured):
        return Trimmed(within, trimmer.lmbda, True)
    return Trimmed(candidate, trimmer.lmbda, done(), within)


def _nearer_within(goal: Goal, within: Candidate | None, candidate: Candidate) -> Candidate | None:
    """Return the nearer of `within` and a candidate within the goal's bound; one that is not is ignored."""
    if not goal.within(candidate.measured):
        return within
    return candidate if within is None or goal.nearer(candidate.measured, within.measured) else within


class _Trimmer:
    """Successive trims: each changes the lmbda of the previous one; `step` makes one.

    Attributes:
        lmbda: of the last trim, at first that of the refinement.
    """

    def __init__(
        self,
        measurement: Measurement,
        continuation: Continuation,
        start: OperatingPoint,
        config: RefineConfig,
        counter: StepCounter,
    ) -> None:
        self.measurement, self.continuation, self.start = measurement, continuation, start
        self.config, self.counter = config, counter
        self.lmbda = start.lmbda

    def step(self, candidate: Candidate, gain: float) -> Candidate:
        """Change lmbda towards the goal, then search from the candidate for a few steps at temperature 0."""
        goal = self.measurement.goal
        change = gain * (goal.aim - candidate.measured) / goal.slopes.log_lmbda
        self.lmbda *= math.exp(max(-LOG_LMBDA_STEP_MAX, min(LOG_LMBDA_STEP_MAX, change)))
        config = replace(
            self.config,
            temperature_bits=0.0,
            patience=0,
            move_fraction_start=TRIM_MOVE_FRACTION,
            move_fraction_end=TRIM_MOVE_FRACTION,
        )
        clock, progress = Clock(self._steps(), None), self.counter.next_run()
        found = self.continuation.search(candidate.latents, self.lmbda, config=config, clock=clock, progress=progress)
        return self.measurement.candidate(found, self.start.quality)

    def _steps(self) -> int:
        """Return the steps of the next trim, at least TRIM_STEPS_MIN: the goal is to be met even with no time left."""
        steps, left = math.ceil(TRIM_FRACTION * self.config.iters), self.measurement.clock.left
        if left is not None:
            step_seconds = self.start.refined.seconds / max(1, self.start.refined.iters)
            steps = min(steps, int(left / step_seconds))
        return max(TRIM_STEPS_MIN, steps)
