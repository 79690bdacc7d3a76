"""Annealed discrete search: integer latents move by one, all at once, on the true cost.

For a latent v and its neighbour k = v - 1 or v + 1, in bits of the image,

    delta(k) = r(k) - r(v) + g (k - v) + h / 2

r is the latent's own rate, exact; g the gradient of all else: the distortion, and the rate of the latents whose
parameters v moves; h the curvature, of the distortion for y, of the rate of y for z. The better neighbour is taken with

    P(move) = share * sigmoid(-delta / heat)

Heat lets the search leave poor places and falls to zero; a share below 1 keeps latents that answer for the same error
from moving together. All z of a position answer for the rate of the same y, so of them only the best may move. Every
iterate is integer, so the forward pass of each step prices it truly: nothing is relaxed, and nothing is lost on the way
to the file.

Source: ours. Rate-distortion optimised quantisation of video encoders, as parallel heat-bath updates of a Gibbs field
(Besag, "On the statistical analysis of dirty pictures", 1986, is the limit of no heat), with gradients for neighbours.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from codec.coding import products
from codec.interface import Latents
from rdo.config import RefineConfig
from rdo.cuda_graph import Repeated
from rdo.objective import Best, Cost, Patience, Problem, keep_better, look, select
from rdo.relaxations import uniform
from rdo.schedules import Clock, falling, geometric

FAR, NEAR, FAR_Z = 1 / 4, 1 / 64, 1 / 2  # reaches of probes of the curvature, in quantisation steps
PROBES_MAX = 8  # of each reach; one is enough where an image has many positions to average over
POSITIONS = 96
PROBING = 0.25  # of the seconds left, where they are limited: what probes take beyond is better spent on steps
ASTRAY = 1.1  # times the first cost: how dear the search may become while there is heat
STIFFER = 1.2  # times the curvature of y, with each step back
HOT = 0.9  # the fraction of the budget with heat
Z_SHARE = 0.5  # of the share of y: one z moves the rate of many y, also of those at its neighbours


class View(NamedTuple):
    """Rounded latents, and delta(v + 1) and delta(v - 1) of each of them but for curvature, in bits of the image."""

    latents: Latents
    up: Latents
    down: Latents

    def bent(self, bend: Latents) -> "View":
        """With the curvature in delta."""
        up, down = (Latents(*(d + h / 2 for d, h in zip(both, bend, strict=True))) for both in self[1:])
        return View(self.latents, up, down)

    def where(self, chosen: Tensor, other: "View") -> "View":
        """This view of the images that `chosen` (B,) marks, `other` of the rest."""
        return View(*(select(chosen, new, old) for new, old in zip(self, other, strict=True)))


class State(NamedTuple):
    """A search between two steps, of B images.

    Attributes:
        view: where each starts from, and `cost` (B,) what that costs.
        best: the best seen.
        boldness: of the latents that may move, the fraction that does, (B,).
        stiffness: how many times its measured curvature each is taken to have, (B,).
    """

    view: View
    cost: Tensor
    best: Best
    boldness: Tensor
    stiffness: Tensor


@torch.enable_grad()
def search(
    problem: Problem,
    best: Best,
    config: RefineConfig,
    clock: Clock,
    progress: Callable[[int], None],
    bend: Latents | None = None,
) -> Best:
    """Search from `best` until the clock runs out or, without heat, patience does; `bend` are `curvatures`, if known.

    An image that is still dearer than at the start when the heat ends goes back there, to descend from it.
    """
    if clock.t >= 1:
        return best
    generator = torch.Generator(problem.x.device).manual_seed(config.seed)
    bend = bend or curvatures(problem, best.latents, generator, clock)
    cost, view = survey(problem, problem.rounded(best.latents))
    ones = torch.ones_like(cost.total)
    state = start = State(view, cost.total, keep_better(best, view.latents, cost), ones, ones)
    step = Repeated(
        partial(_step, problem, bend, ASTRAY * start.cost, generator), generator, problem.measure.recordable
    )
    patience = None
    while True:
        t = clock.t
        heat, share = (
            falling(config.temperature_bits, t / HOT),
            geometric(config.move_fraction_start, config.move_fraction_end, t),
        )
        if heat == 0:
            if patience is None:
                patience, state = Patience(config.patience, state.best), _cooled(state, start)
            elif patience.spent(state.best):
                return state.best
        clock.step += 1
        progress(clock.step)
        if clock.t >= 1:
            return look(problem, state.best, _moved(problem, bend, generator, state, heat, share))
        state = step(state, heat, share)


def _step(
    problem: Problem,
    bend: Latents,
    astray: Tensor,
    generator: torch.Generator,
    state: State,
    heat: Tensor,
    share: Tensor,
) -> State:
    """One round of moves and a look at where it led; never waits for the device.

    Where the moves made an image dearer than its limit it steps back, and from then on half as many latents may move.
    The limit is `astray` while there is heat, for the search to wander, and with each step back moves are taken to bend
    the distortion more than was measured; then the last cost.
    """
    latents = problem.rounded(_moved(problem, bend, generator, state, heat, share))
    cost, view = survey(problem, latents)
    better = cost.total <= torch.where(heat > 0, astray, state.cost)
    return State(
        view.where(better, state.view),
        torch.where(better, cost.total, state.cost),
        keep_better(state.best, latents, cost),
        torch.where(better, state.boldness, state.boldness / 2),
        torch.where(better | (heat == 0), state.stiffness, STIFFER * state.stiffness),
    )


def _moved(
    problem: Problem,
    bend: Latents,
    generator: torch.Generator,
    state: State,
    heat: Tensor | float,
    share: Tensor | float,
) -> Latents:
    """Latents after one round of moves, on the writer's grid but for rounding."""
    (y, z), up, down = state.view.bent(bend._replace(y=state.stiffness[:, None, None, None] * bend.y))
    share = share * state.boldness
    moved = Latents(
        move(y, up.y, down.y, heat, share, generator),
        move(z, up.z, down.z, heat, Z_SHARE * share, generator, alone=True),
    )
    return carry(problem, state.view.latents, moved)


def _cooled(state: State, start: State) -> State:
    """The state that a descent without heat starts from."""
    better = state.cost <= start.cost
    view = state.view.where(better, start.view)
    return State(view, torch.where(better, state.cost, start.cost), state.best, start.boldness, state.stiffness)


def move(
    v: Tensor,
    up: Tensor,
    down: Tensor,
    heat: Tensor | float,
    share: Tensor,
    generator: torch.Generator,
    alone: bool = False,
) -> Tensor:
    """Latents v (B, C, h, w) after one round of P(move), from delta of both neighbours; `share` is (B,).

    Of those at one position only that of the least delta, noise included, may move where each does so `alone`.
    """
    # delta / heat + logistic noise < 0 has the chance sigmoid(-delta / heat)
    delta = torch.minimum(up, down) + heat * uniform(v, generator).clamp(1e-6, 1 - 1e-6).logit()
    chosen = (delta < 0) & (uniform(v, generator) < share[:, None, None, None])
    if alone and v.numel():  # there are codecs without z
        chosen &= delta == delta.amin(1, keepdim=True)
    return torch.where(chosen, torch.where(up < down, v + 1, v - 1), v)


@torch.no_grad()
def carry(problem: Problem, before: Latents, after: Latents) -> Latents:
    """Latents `after` a round of moves; where z moved the grid of y, y keeps its symbol and moves with it."""
    codec = problem.codec
    if not codec.depends_on_z:
        return after
    there, here = (codec.shift(codec.mixture(before.y, z, problem.quality)) for z in (after.z, before.z))
    return after._replace(y=after.y + (there - here))


def survey(problem: Problem, latents: Latents) -> tuple[Cost, View]:
    """True cost of rounded latents, and delta of all their neighbours: one forward and one backward pass."""
    seen = Latents(*(t.clone().requires_grad_() for t in latents))
    cost, mixture, here = problem.price(seen, latents, riding=True)
    slope = Latents(*torch.autograd.grad(cost.total.sum() * problem.pixels, seen, materialize_grads=True))
    mixture = type(mixture)(*(t.detach() for t in mixture))
    deltas = []
    for sign in (1, -1):
        own = _own_bits(problem, Latents(*(v + sign for v in latents)), mixture)
        terms = zip(own, here, slope, strict=True)
        deltas.append(Latents(*(there - r.detach() + sign * g for there, r, g in terms)))
    return Cost(*(t.detach() for t in cost)), View(latents, *deltas)


@torch.no_grad()
def _own_bits(problem: Problem, latents: Latents, mixture: Any) -> Latents:
    return Latents(problem.codec.y_bits(latents.y, mixture), problem.codec.z_bits(latents.z, problem.quality))


@torch.enable_grad()
def curvatures(problem: Problem, latents: Latents, generator: torch.Generator, clock: Clock) -> Latents:
    """Second derivatives of distortion by y, and of the rate of y by z, in bits, per channel and position.

    Where time is short, those of y are rough and z stays: infinite.
    """
    y, z = latents
    probing = Clock(1, clock.left and PROBING * clock.left, clock.device)

    def distortion(y: Tensor, z: Tensor) -> Tensor:
        return problem.lmbda * problem.distortion(Latents(y, z)) * problem.pixels

    def others(at: Tensor) -> Tensor:
        mixture = problem.codec.mixture(y, at, problem.quality)
        riding = problem.riding(y, mixture)
        bits = problem.codec.y_bits(riding, mixture).sum((1, 2, 3))
        return bits + distortion(riding, at) if problem.codec.depends_on_z else bits

    # far probes see latents that move together, near ones each alone; a move is dear where either is steep
    weight = problem.weight_of(y)
    of_y = curvature(lambda at: distortion(at, z), y, FAR, generator, probing, weight)
    if probing.t < 1:
        of_y = torch.maximum(of_y, curvature(lambda at: distortion(at, z), y, NEAR, generator, probing, weight))
    of_z = torch.full_like(z, torch.inf)
    if probing.t < 1:
        of_z = curvature(others, z, FAR_Z, generator, probing)
    return Latents(of_y, of_z)


def curvature(
    function: Callable[[Tensor], Tensor],
    at: Tensor,
    reach: float,
    generator: torch.Generator,
    clock: Clock,
    weight: Tensor | float = 1.0,
) -> Tensor:
    """Diagonal of the Hessian of `function` (B, C, h, w) -> (B,), at least 0, by Hutchinson's probes.

    Central differences of the gradient, `reach` along random signs v: E[v * (H v)] is the diagonal. The noise of few
    probes is averaged out by taking the diagonal as (mean of the channel) * (mean of the position) / mean, for each
    image. `weight` (1, 1, h, w), of mean 1, is how much steeper positions are known to be than others. The clock ends
    the probes after the first.
    """
    if not at.numel():  # of a codec without z
        return at
    probes = min(PROBES_MAX, -(-POSITIONS // (at.shape[2] * at.shape[3])))
    total, made = torch.zeros_like(at), 0
    while made < probes and (not made or clock.t < 1):
        v = (uniform(at, generator) < 0.5) * 2.0 - 1.0
        total += v * (_gradient(function, at + reach * v) - _gradient(function, at - reach * v))
        made += 1
    diagonal = total / (2 * reach * made)
    channel, position = diagonal.mean((2, 3), keepdim=True), diagonal.mean(1, keepdim=True)
    mean = diagonal.mean((1, 2, 3), keepdim=True).clamp(min=1e-12)
    return channel.clamp(min=0) * weight * (position / (weight * mean)).clamp(0.1, 10)


def _gradient(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    at = at.detach().requires_grad_()
    with products("ieee"), torch.autocast(at.device.type, enabled=False):  # differences of near equals are taken of it
        return torch.autograd.grad(function(at).sum(), at)[0]
