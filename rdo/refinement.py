"""Refinement: optimise the latents of given images through the frozen codec, for rate + lmbda * distortion.

    y, z <- analyse(x)
    plain <- round(y, z)
    search from plain among integers (`rdo.rdoq`), or descend on relaxed latents (`rdo.descent`)
    return the integer y, z of least true cost seen, plain among them

The latents live on the writer's own integer grid. Images of one shape are refined together: costs are summed, so each
is treated alone and keeps its own best. The invariant: no image ends dearer than its plain encoding.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from codec.coding import coding_arithmetic, products
from codec.images.pixels import pad
from codec.interface import Latents, Refinable
from codec.model import Codec
from rdo.config import Method, RefineConfig
from rdo.descent import descend
from rdo.distortion import Distortion, distortion_of
from rdo.objective import Best, Cost, Problem, look, priced
from rdo.rdoq import search
from rdo.schedules import Clock
from rdo.strips import bounded

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Refined:
    """Outcome for B images of one shape.

    Attributes:
        latents: integer y (B, M, H/16, W/16) and z (B, N_h, H/64, W/64), ready to write.
        plain: integer latents of plain encoding.
        cost_est, plain_cost_est: true rounded cost by the model's estimate of rate, unrounded pixels, (B,) each.
        method: what was used.
        iters: steps done, those of the tail among them.
        seconds: wall time of all B images.
    """

    latents: Latents
    plain: Latents
    cost_est: Cost
    plain_cost_est: Cost
    method: Method
    iters: int
    seconds: float


def refine(
    codec: Refinable,
    x: Tensor,
    quality: float,
    config: RefineConfig,
    lmbda: float | None = None,
    progress: Progress = lambda step: None,
    measure: Distortion | None = None,
) -> Refined:
    """Refine images x (B, 3, H, W) in [0, 1], on the codec's device and unpadded, at a quality in 1..8.

    Args:
        lmbda: weight of the distortion (on the scale of the mse over 0..255) against bits per pixel; None takes what
            fits the quality.
        progress: called with the number of each step.
        measure: of distortion; None takes what the codec was trained for.

    Raises:
        ConfigError: quality outside 1..8, or a measure that does not suit the size of the images.
    """
    clock = Clock(config.iters, config.time_budget, x.device)
    level = codec.level(quality).expand(len(x))
    weight = torch.full_like(level, codec.lmbda_of(quality) if lmbda is None else lmbda)
    with coding_arithmetic():
        start = codec.analyse(pad(x, codec.stride), level)
    # only now, as the process keeps the memory that analysis took
    problem = Problem(bounded(codec, x.shape, config), x, level, weight, measure or distortion_of(codec))
    with coding_arithmetic():
        plain = priced(problem, problem.rounded(start))
    if not config.iters:
        return Refined(plain.latents, plain.latents, plain.cost, plain.cost, config.method, 0, clock.seconds)
    with quick_arithmetic(codec, config) as quick:
        first = priced(problem, plain.latents) if quick else plain
        best, steps = _optimise(problem, start, first, config, clock, progress)
    if quick:
        with coding_arithmetic():
            best = look(problem, plain, best.latents)
    return Refined(best.latents, plain.latents, best.cost, plain.cost, config.method, steps, clock.seconds)


@contextmanager
def quick_arithmetic(codec: Refinable, config: RefineConfig) -> Iterator[bool]:
    """What a GPU searches with: products in TF32, our own networks in bfloat16. False where nothing is quicker."""
    if codec.device.type != "cuda":
        yield False
        return
    half = config.precision == "bf16" and isinstance(codec, Codec) and torch.cuda.is_bf16_supported(False)
    # no cache: it would keep what every step's latents were cast to
    with products("tf32"), torch.autocast("cuda", torch.bfloat16, enabled=half, cache_enabled=False):
        yield True


def _optimise(
    problem: Problem, start: Latents, best: Best, config: RefineConfig, clock: Clock, progress: Progress
) -> tuple[Best, int]:
    """The method asked for, then its tail; returns the best and the steps done."""
    if config.method == "rdoq":
        return search(problem, best, config, clock, progress), clock.step
    best = descend(problem, start, best, config.method, config, clock, progress)
    if config.tail:
        best = search(problem, best, replace(config, temperature_bits=0.0), clock, progress)
    return best, clock.step
