"""Refinement: optimise the latents of given images through the frozen codec, for rate + lmbda * distortion.

    y, z <- analyse(x)
    repeat:  y~, z~ <- relax(y, z, T(t))
             y, z   <- Adam step on  R(y~, z~) + lmbda * D(g_s(y~), x)
    return the rounded y, z of least true cost seen, the plain encoding among them

The latents live on the writer's own integer grid. Images of one shape are refined together: costs are summed, so Adam
treats each alone, and each keeps its own best. The invariant: no image ends dearer than its plain encoding.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from codec.architecture import lmbda_of
from codec.coding import quality_tensor, round_latents
from codec.image import pad
from codec.model import STRIDE, Codec, Latents
from rdo.config import Method, RefineConfig
from rdo.objective import Cost, cost
from rdo.relaxations import EXACT, RELAXATIONS, Name
from rdo.schedules import cosine, geometric

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Refined:
    """Outcome for B images of one shape.

    Attributes:
        latents: integer y (B, M, H/16, W/16) and z (B, N_h, H/64, W/64), ready to write.
        plain: integer latents of plain encoding.
        cost_est, plain_cost_est: true rounded cost by the model's estimate of rate, unrounded pixels, (B,) each.
        method: the relaxation used.
        iters: steps done.
        seconds: wall time of all B images.
    """

    latents: Latents
    plain: Latents
    cost_est: Cost
    plain_cost_est: Cost
    method: Name
    iters: int
    seconds: float


class Problem(NamedTuple):
    """What is fixed during a refinement: the frozen codec, images x (B, 3, H, W), quality (B,) and lmbda (B,)."""

    codec: Codec
    x: Tensor
    quality: Tensor
    lmbda: Tensor

    def cost(self, latents: Latents) -> Cost:
        """Differentiable cost of latents, per image."""
        return cost(self.codec, latents, self.x, self.quality, self.lmbda)


class Best(NamedTuple):
    """The best integer latents so far and their cost, per image."""

    latents: Latents
    cost: Cost


def refine(
    codec: Codec,
    x: Tensor,
    quality: float,
    config: RefineConfig,
    lmbda: float | None = None,
    progress: Progress = lambda step: None,
) -> Refined:
    """Refine images x (B, 3, H, W) in [0, 1], on the codec's device and unpadded, at a quality in 1..8.

    Args:
        lmbda: weight of the mse (0..255 scale) against bits per pixel; None takes what fits the quality.
        progress: called with the number of each finished step.

    Raises:
        ConfigError: quality outside 1..8.
    """
    begin = time.monotonic()
    level = quality_tensor(codec, quality).expand(len(x))
    weight = torch.full_like(level, lmbda_of(quality) if lmbda is None else lmbda)
    problem = Problem(codec, x, level, weight)
    with torch.no_grad():
        start = codec.analyse(pad(x, STRIDE), level)
        plain = Best(round_latents(start), problem.cost(round_latents(start)))
    method = choose_method(config.method)
    best, steps = _optimise(problem, start, plain, method, config, progress) if config.iters else (plain, 0)
    return Refined(best.latents, plain.latents, best.cost, plain.cost, method, steps, time.monotonic() - begin)


def _optimise(
    problem: Problem, start: Latents, best: Best, method: Name, config: RefineConfig, progress: Progress
) -> tuple[Best, int]:
    """The loop: relax, price, step; look at the true cost now and then. Returns the best and the steps done."""
    begin = time.monotonic()
    latents = Latents(*(t.clone().requires_grad_() for t in start))
    peaks = (config.lr_y, config.lr_z)
    optimiser = torch.optim.Adam(
        [{"params": [v], "lr": lr} for v, lr in zip(latents, peaks, strict=True)], betas=(config.beta1, config.beta2)
    )
    generator = torch.Generator(problem.x.device).manual_seed(config.seed)
    looks = look_steps(config.iters, config.checks)
    step = stale = 0
    seen = best.cost.total
    while step < config.iters and (t := _spent(config, step, begin)) < 1:
        for group, peak in zip(optimiser.param_groups, peaks, strict=True):
            group["lr"] = cosine(peak, peak * config.lr_end, t)
        temperature = geometric(config.temperature_start, config.temperature_end, t)
        relaxed = Latents(*(RELAXATIONS[method](v, temperature, generator) for v in latents))
        now = problem.cost(relaxed)
        optimiser.zero_grad(set_to_none=True)
        now.total.sum().backward()
        if method in EXACT:
            best = keep_better(best, Latents(*(v.detach() for v in relaxed)), now)
        optimiser.step()
        step += 1
        progress(step)
        if step in looks:
            best = _look(problem, best, latents)
            if config.patience:
                stale = 0 if bool((best.cost.total < seen).any()) else stale + 1
                seen = best.cost.total
                if stale >= config.patience:
                    break
    return _look(problem, best, latents), step


def choose_method(method: Method) -> Name:
    """The relaxation that `auto` means: `sga`, which gained where `ste` gained nothing, at the 100 steps tried."""
    return "sga" if method == "auto" else method


def look_steps(iters: int, checks: int) -> frozenset[int]:
    """Steps after which the true cost is looked at: `checks` of them, in the second half, not the last."""
    return frozenset(math.ceil(iters * (0.5 + 0.5 * i / checks)) for i in range(checks)) - {iters}


def keep_better(best: Best, latents: Latents, candidate: Cost) -> Best:
    """Per image, the cheaper of two integer latents; no device sync."""
    better = candidate.total < best.cost.total  # (B,); False for a NaN
    chosen = (torch.where(better[:, None, None, None], n, o) for n, o in zip(latents, best.latents, strict=True))
    costs = (torch.where(better, n, o).detach() for n, o in zip(candidate, best.cost, strict=True))
    return Best(Latents(*chosen), Cost(*costs))


@torch.no_grad()
def _look(problem: Problem, best: Best, latents: Latents) -> Best:
    """Round, price truly, keep what is better."""
    rounded = round_latents(latents)
    return keep_better(best, rounded, problem.cost(rounded))


def _spent(config: RefineConfig, step: int, begin: float) -> float:
    """t, the fraction of the budget that is spent: of the steps, or of the seconds if those run out first."""
    done = step / config.iters
    if config.time_budget is None:
        return done
    return max(done, (time.monotonic() - begin) / config.time_budget)
