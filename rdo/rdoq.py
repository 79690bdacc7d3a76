"""RDOQ: annealed discrete search over rounded latents, of which many move by +1 or -1 in each step.

For a latent v and a neighbour k = v + 1 or v - 1, the change of the image's cost, in bits, is predicted as

    delta(k) = r(k) - r(v) + g (k - v) + h / 2

    r  bits of the latent itself, exact
    g  gradient of all other terms: the distortion, and the bits of the latents whose entropy parameters v enters
    h  curvature of those terms (`rdo.curvature`): of the distortion for y, of the bits of y for z

and the better neighbour is taken with the probability

    P(move) = move_fraction * sigmoid(-delta / temperature)

The temperature lets the search leave poor minima, and falls to zero. A move fraction below 1 keeps latents that would
correct the same error from moving together. All z at one position change the bits of the same y, so only the best of
them may move. Every iterate is on the writer's integer grid, so the forward pass of each step gives its true cost:
nothing is relaxed, and nothing is lost on the way to the file.

Source: ours. It is the rate-distortion optimised quantisation of video encoders as parallel heat-bath updates of a
Gibbs field, with a second-order expansion in place of the exact energies of neighbours. Its limit at temperature 0 is
the iterated conditional modes of Besag, "On the statistical analysis of dirty pictures", 1986.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from codec.interface import Latents
from rdo.config import RefineConfig
from rdo.cuda_graph import GraphedStep
from rdo.curvature import curvature_of
from rdo.objective import Best, Cost, Patience, Problem, keep_better, keep_if_better, select
from rdo.relaxations import uniform
from rdo.schedules import Clock, geometric, quadratic

COST_RATIO_MAX = 1.1  # maximum cost during annealing, as a multiple of the starting cost
CURVATURE_GROWTH = 1.2  # factor on the curvature of y after each rejected step of annealing
ANNEALING_FRACTION = 0.9  # of the budget; the rest is descent at temperature 0
Z_MOVE_FRACTION = 0.5  # of y's move fraction: one z moves the bits of many y, and its neighbours move some of the same


class MoveCosts(NamedTuple):
    """Rounded latents, and delta of moving each by +1 (`up`) and -1 (`down`) without the curvature term, in bits."""

    latents: Latents
    up: Latents
    down: Latents

    def with_curvature(self, curvature: Latents) -> "MoveCosts":
        """Add h / 2 to the delta of every move."""
        up, down = (Latents(*(d + h / 2 for d, h in zip(both, curvature, strict=True))) for both in self[1:])
        return MoveCosts(self.latents, up, down)

    def select(self, chosen: Tensor, other: "MoveCosts") -> "MoveCosts":
        """Select these for the images that `chosen` (B,) marks, `other` for the rest."""
        return MoveCosts(*(select(chosen, new, old) for new, old in zip(self, other, strict=True)))


class State(NamedTuple):
    """State of the search between two steps, for B images.

    Attributes:
        moves: the current latents and the costs of their moves.
        cost: (B,), true cost of the current latents.
        best: the best latents seen.
        move_fraction: (B,), factor on the scheduled move fraction, halved by each rejected step.
        curvature_scale: (B,), factor on the measured curvature of y.
    """

    moves: MoveCosts
    cost: Tensor
    best: Best
    move_fraction: Tensor
    curvature_scale: Tensor


@torch.enable_grad()
def search(
    problem: Problem,
    best: Best,
    config: RefineConfig,
    *,
    clock: Clock,
    progress: Callable[[int], None],
    curvature: Latents | None = None,
) -> Best:
    """Search from `best` until the clock runs out or, at temperature 0, patience is spent.

    An image whose cost is above that of the start when annealing ends returns to the start, to descend from there.

    Args:
        best: rounded latents to start from, and their cost.
        config: temperature, move fractions, patience and seed are used.
        clock: budget, whose steps are counted.
        progress: called with the number of each step.
        curvature: of the objective at `best`, as from `curvature_of`; None measures it.
    """
    if clock.t >= 1:
        return best
    generator = torch.Generator(problem.x.device).manual_seed(config.seed)
    if curvature is None:
        curvature = curvature_of(problem, best.latents, generator=generator, clock=clock)
    cost, moves = price_moves(problem, problem.rounded(best.latents))
    ones = torch.ones_like(cost.total)
    state = start = State(moves, cost.total, keep_better(best, moves.latents, cost), ones, ones)
    sampler = _Sampler(problem, curvature, COST_RATIO_MAX * start.cost, generator)
    step = GraphedStep(sampler.step, generator, problem.metric.capturable)
    patience = None
    while True:
        t = clock.t
        temperature_bits = quadratic(config.temperature_bits, t / ANNEALING_FRACTION)
        move_fraction = geometric(config.move_fraction_start, config.move_fraction_end, t)
        if temperature_bits == 0:
            if patience is None:
                patience, state = Patience(config.patience, state.best), _descent_start(state, start)
            elif patience.spent(state.best):
                return state.best
        clock.step += 1
        progress(clock.step)
        if clock.t >= 1:  # the last step needs no costs of further moves
            return keep_if_better(problem, state.best, sampler.propose(state, temperature_bits, move_fraction))
        state = step(state, temperature_bits, move_fraction)


@dataclass(frozen=True)
class _Sampler:
    """Sampler of the search's steps: proposes moves, prices where they lead, accepts or rejects them per image.

    Attributes:
        problem: objective.
        curvature: h, of the shapes of the latents.
        cost_max: (B,), cost up to which steps are accepted during annealing.
        generator: source of all noise.
    """

    problem: Problem
    curvature: Latents
    cost_max: Tensor
    generator: torch.Generator

    def step(self, state: State, temperature_bits: Tensor, move_fraction: Tensor) -> State:
        """Make one round of moves, without waiting for the device.

        During annealing an image accepts what costs no more than `cost_max`, so that the search may wander; at
        temperature 0, what costs no more than its current latents. A rejection keeps the latents and halves the
        image's move fraction; during annealing it also raises the curvature that moves of y are priced with.
        """
        latents = self.problem.rounded(self.propose(state, temperature_bits, move_fraction))
        cost, moves = price_moves(self.problem, latents)
        annealing = temperature_bits > 0
        accepted = cost.total <= torch.where(annealing, self.cost_max, state.cost)
        return State(
            moves.select(accepted, state.moves),
            torch.where(accepted, cost.total, state.cost),
            keep_better(state.best, latents, cost),
            torch.where(accepted, state.move_fraction, state.move_fraction / 2),
            torch.where(accepted | ~annealing, state.curvature_scale, CURVATURE_GROWTH * state.curvature_scale),
        )

    def propose(self, state: State, temperature_bits: Tensor | float, move_fraction: Tensor | float) -> Latents:
        """Sample one round of moves; the result is to be rounded, as a move of z may shift the grid of y."""
        scale = state.curvature_scale[:, None, None, None]
        curvature = self.curvature._replace(y=scale * self.curvature.y)
        (y, z), up, down = state.moves.with_curvature(curvature)
        fraction = move_fraction * state.move_fraction
        sample = partial(sample_moves, temperature_bits=temperature_bits, generator=self.generator)
        moved = Latents(
            sample(y, up.y, down.y, move_fraction=fraction),
            sample(z, up.z, down.z, move_fraction=Z_MOVE_FRACTION * fraction, one_per_position=True),
        )
        return follow_grid(self.problem, state.moves.latents, moved)


def _descent_start(state: State, start: State) -> State:
    """Choose, per image, the cheaper of the current and the first latents, all of which may move again."""
    better = state.cost <= start.cost
    moves = state.moves.select(better, start.moves)
    cost = torch.where(better, state.cost, start.cost)
    return State(moves, cost, state.best, start.move_fraction, state.curvature_scale)


def sample_moves(
    v: Tensor,
    up: Tensor,
    down: Tensor,
    *,
    temperature_bits: Tensor | float,
    move_fraction: Tensor,
    generator: torch.Generator,
    one_per_position: bool = False,
) -> Tensor:
    """Move each latent to the better of its neighbours with probability P(move).

    Args:
        v: latents (B, C, h, w).
        up: delta of v + 1, of the shape of v.
        down: delta of v - 1.
        temperature_bits: 0 makes exactly the moves of negative delta.
        move_fraction: (B,), in 0..1.
        one_per_position: whether at most one of the C latents of a position moves, that of the least delta, noise
            included.
    """
    # delta / T + logistic noise < 0 has the probability sigmoid(-delta / T)
    delta = torch.minimum(up, down) + temperature_bits * uniform(v, generator).clamp(1e-6, 1 - 1e-6).logit()
    chosen = (delta < 0) & (uniform(v, generator) < move_fraction[:, None, None, None])
    if one_per_position and v.numel():  # z is empty in codecs without a hyperprior
        chosen &= delta == delta.amin(1, keepdim=True)
    return torch.where(chosen, torch.where(up < down, v + 1, v - 1), v)


@torch.no_grad()
def follow_grid(problem: Problem, before: Latents, after: Latents) -> Latents:
    """Shift y with its grid, so that it keeps its symbol where a move of z shifted the grid."""
    codec = problem.codec
    if not codec.depends_on_z:
        return after
    there, here = (codec.shift(codec.mixture(before.y, z, problem.quality)) for z in (after.z, before.z))
    return after._replace(y=after.y + (there - here))


def price_moves(problem: Problem, latents: Latents) -> tuple[Cost, MoveCosts]:
    """Compute the true cost of rounded latents and delta of all their moves, in one forward and one backward pass.

    The pass takes the latents twice: `free` ones, whose gradient is g, and the constants whose own bits r are counted.
    """
    free = Latents(*(t.clone().requires_grad_() for t in latents))
    cost, mixture, bits = problem.price(free, latents, grid_gradient=True)
    gradient = Latents(*torch.autograd.grad(cost.total.sum() * problem.pixels, free, materialize_grads=True))
    mixture = type(mixture)(*(t.detach() for t in mixture))
    deltas = []
    for sign in (1, -1):
        bits_there = _own_bits(problem, Latents(*(v + sign for v in latents)), mixture)
        terms = zip(bits_there, bits, gradient, strict=True)
        deltas.append(Latents(*(there - here.detach() + sign * g for there, here, g in terms)))
    return Cost(*(t.detach() for t in cost)), MoveCosts(latents, *deltas)


@torch.no_grad()
def _own_bits(problem: Problem, latents: Latents, mixture: Any) -> Latents:
    """Compute the bits of each latent under given entropy parameters."""
    return Latents(problem.codec.y_bits(latents.y, mixture), problem.codec.z_bits(latents.z, problem.quality))
