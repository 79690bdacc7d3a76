"""Refinement: optimise the latents of given images through the frozen codec, for rate + lmbda * distortion.

    y, z  <- analyse(x)
    plain <- round(y, z)
    best  <- search from plain among integers (`rdo.rdoq`),
             or descend from y, z on relaxed latents (`rdo.descent`), then search at temperature 0 (the `tail`)
    return the integer y, z of the lowest true cost seen, plain among them

Latents live on the writer's own integer grid. Images of one shape are refined together: costs are summed, so that each
gets its own gradient and keeps its own best. Invariant: no image ends at a higher cost than its plain encoding.
"""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from codec.arithmetic import coding_arithmetic, products
from codec.images.pixels import pad
from codec.interface import Latents, Refinable, unrounded_latents
from rdo.config import RefineConfig
from rdo.descent import descend
from rdo.distortion import Distortion, distortion_of
from rdo.memory import within_memory
from rdo.objective import Best, Cost, Observe, Problem, keep_if_better, priced
from rdo.rdoq import search
from rdo.resuming import Snapshots, Store, refinement_key
from rdo.schedules import Clock
from rdo.starts import Start

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Refined:
    """Refined latents of B images of one shape.

    Attributes:
        latents: rounded y (B, M, H/16, W/16) and z (B, N_h, H/64, W/64), ready to write.
        plain: rounded latents of plain encoding, of the same shapes.
        cost_est, plain_cost_est: cost of both, (B,) each, by the model's estimate of the rate and on unrounded pixels.
        distortion: that was minimised, fitted to the images.
        method: method that was asked for.
        iters: steps done, those of the tail included.
        seconds: wall time of all B images together.
        resumed_step: step that an interrupted refinement went on at; None for one that was not interrupted.
    """

    latents: Latents
    plain: Latents
    cost_est: Cost
    plain_cost_est: Cost
    distortion: Distortion
    method: str
    iters: int
    seconds: float
    resumed_step: int | None = None


def refine(
    codec: Refinable,
    x: Tensor,
    quality: float,
    *,
    config: RefineConfig,
    lmbda: float | None = None,
    progress: Progress = lambda step: None,
    observe: Observe | None = None,
    distortion: Distortion | None = None,
    start: Start | None = None,
    store: Store | None = None,
) -> Refined:
    """Refine images at a quality: optimise their latents for bpp + lmbda * distortion.

    Args:
        codec: frozen codec.
        x: images (B, 3, H, W) in [0, 1], on the codec's device and unpadded.
        quality: level in 1..8 of a codec of variable rate, or the one quality of another.
        config: method, steps and schedules.
        lmbda: weight of the distortion (on the scale of the mse over 0..255) against bits per pixel; None takes that
            of the quality.
        progress: called with the number of each step.
        observe: called with the number of each step and the cost (B,) of the latents after it, which a descent's are
            relaxed ones; to read it waits for a GPU.
        distortion: to be minimised; None takes that which the codec was trained for. One that is not fitted to the
            images is fitted to their plain encoding by this codec.
        start: latents to begin with, priced by the fitted `distortion`; None analyses the images.
        store: of one image, place that the state is saved in now and then, and gone on from; None saves nothing.

    Raises:
        ConfigError: quality outside 1..8, or a distortion that does not suit the size of the images.
    """
    clock = Clock(config.iters, config.time_budget, x.device)
    if start is None:
        problem, start = begin(codec, x, quality, config=config, lmbda=lmbda, distortion=distortion)
    else:
        problem = _problem(codec, x, quality, config=config, lmbda=lmbda, distortion=distortion)
    analysed, plain = start
    metric = problem.metric
    if not config.iters:
        return Refined(plain.latents, plain.latents, plain.cost, plain.cost, metric, config.method, 0, clock.seconds)
    snapshots = None
    if store is not None and len(x) == 1:
        snapshots = snapshots_of(
            store, config, level=problem.quality, lmbda=problem.lmbda, profile=codec.gain_profile, metric=metric
        )
    state = snapshots.state if snapshots else None
    if state is not None:
        clock.resume(state.step, state.seconds)
    best = improved(
        problem, analysed, plain, codec=codec, config=config, clock=clock, progress=progress, observe=observe,
        snapshots=snapshots,
    )  # fmt: skip
    if snapshots is not None:
        snapshots.finish(clock, best.latents)
    return Refined(
        best.latents, plain.latents, best.cost, plain.cost, metric, config.method, clock.step, clock.seconds,
        resumed_step=state and state.step,
    )  # fmt: skip


def improved(
    problem: Problem,
    start: Latents,
    plain: Best,
    *,
    codec: Refinable,
    config: RefineConfig,
    clock: Clock,
    progress: Progress,
    observe: Observe | None = None,
    snapshots: Snapshots | None = None,
) -> Best:
    """Run a refinement's method from unrounded latents `start` and priced ones `plain`, and return the cheapest found.

    On a GPU the search may run in reduced precision; what it finds is then priced as a decoder computes. With
    `snapshots` its state is saved now and then, and gone on from.
    """
    with search_arithmetic(codec, config) as reduced:
        first = priced(problem, plain.latents) if reduced else plain
        best = _optimise(
            problem, start, first, config=config, clock=clock, progress=progress, observe=observe, snapshots=snapshots
        )
    if reduced:
        with coding_arithmetic():
            best = keep_if_better(problem, plain, best.latents)
    return best


def snapshots_of(
    store: Store, config: RefineConfig, *, level: Tensor, lmbda: Tensor, profile: int, metric: Distortion, tile: int = 0
) -> Snapshots:
    """Return the saved states of the refinement that has these settings.

    Args:
        store: place of the states of one picture.
        tile: side of the tiles that are refined one at a time, 0 for one.
    """
    shares = (metric.ms_ssim_share, metric.visual_share, metric.weight is not None, *metric.own_settings)
    masked = {} if metric.exact is None else {"exact": hashlib.sha256(metric.exact.cpu().numpy().tobytes()).hexdigest()}
    tiled = {"tile": tile} if tile else {}
    key = refinement_key(
        config, level=level.tolist(), lmbda=lmbda.tolist(), profile=profile, shares=shares, **masked, **tiled
    )
    return Snapshots(store, key)


def begin(
    codec: Refinable,
    x: Tensor,
    quality: float,
    *,
    config: RefineConfig,
    lmbda: float | None = None,
    distortion: Distortion | None = None,
) -> tuple[Problem, Start]:
    """Encode images plainly: return the problem of refining them, its metric fitted, and its start.

    Arguments are those of `refine`.

    Raises:
        ConfigError: quality outside 1..8, or a distortion that does not suit the size of the images.
    """
    level = codec.level(quality).expand(len(x))
    with coding_arithmetic():
        latents = unrounded_latents(codec, pad(x, codec.stride), level)
    # strips are chosen after the analysis, as the process keeps the memory that it took
    problem = _problem(codec, x, quality, config=config, lmbda=lmbda, distortion=distortion)
    with coding_arithmetic():
        rounded = problem.rounded(latents)
        problem = problem.fitted(rounded)
        return problem, Start(latents, priced(problem, rounded))


def _problem(
    codec: Refinable,
    x: Tensor,
    quality: float,
    *,
    config: RefineConfig,
    lmbda: float | None,
    distortion: Distortion | None,
) -> Problem:
    level = codec.level(quality).expand(len(x))
    weight = torch.full_like(level, codec.lmbda_of(quality) if lmbda is None else lmbda)
    return Problem(within_memory(codec, x.shape, config), x, level, weight, distortion or distortion_of(codec))


@contextmanager
def search_arithmetic(codec: Refinable, config: RefineConfig) -> Iterator[bool]:
    """Reduce the precision of the search on a GPU: products in TF32, our own networks in bfloat16.

    Yields:
        Whether the precision is reduced, so that costs differ from those of a decoder.
    """
    if codec.device.type != "cuda":
        yield False
        return
    half = config.precision == "bf16" and codec.supports_bf16 and torch.cuda.is_bf16_supported(False)
    # no cache, which would keep the casts of every step's latents
    with products("tf32"), torch.autocast("cuda", torch.bfloat16, enabled=half, cache_enabled=False):
        yield True


def _optimise(
    problem: Problem,
    start: Latents,
    best: Best,
    *,
    config: RefineConfig,
    clock: Clock,
    progress: Progress,
    observe: Observe | None,
    snapshots: Snapshots | None,
) -> Best:
    """Run the method of the configuration, then its tail, from unrounded latents `start` or rounded ones `best`.

    A refinement that was saved goes on in its stage.
    """
    state = snapshots.state if snapshots else None
    if state is not None and state.stage == "done":
        return keep_if_better(problem, best, state.latents("best", problem.x.device))
    if config.method == "rdoq":
        return search(problem, best, config, clock=clock, progress=progress, observe=observe, snapshots=snapshots)
    if state is None or state.stage == "descent":
        best = descend(
            problem, start, best, method=config.method, config=config, clock=clock, progress=progress,
            observe=observe, snapshots=snapshots,
        )  # fmt: skip
    if config.tail:
        cold = replace(config, temperature_bits=0.0)
        best = search(problem, best, cold, clock=clock, progress=progress, observe=observe, snapshots=snapshots)
    return best
