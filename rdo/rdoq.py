"""RDOQ: annealed discrete search over rounded latents; in each step many of them move at once, by +1 or -1 each.

The cost is total_bits = bits + lmbda * distortion * pixels of one image. For a rounded latent v and a neighbour
k = v + 1 or v - 1, a Taylor expansion predicts the change of cost that the move makes if all others stay, in bits:

    delta(k) = r(k) - r(v) + g (k - v) + h / 2        (h / 2 is h (k - v)^2 / 2, as k - v is 1 or -1)

    r  bits of the latent itself under its current entropy parameters, exact
    g  gradient of all other terms: the distortion, and the bits of those latents whose entropy parameters depend on v
    h  curvature of those terms (`rdo.curvature`): of the distortion for y, of the bits of y for z

The neighbour of the lower delta is proposed, and taken with the probability

    P(move) = move_fraction * sigmoid(-delta / temperature)

The temperature lets the search leave poor minima, and falls to zero. A move fraction below 1 keeps latents that would
correct the same error from moving together. All channels of z at one position change the bits of the same y, so at most
one of them, that of the lowest delta, moves in a step. Every iterate is a set of symbols that a file can hold, so the
forward pass of each step gives its true cost: no relaxation, hence no gap between the latents optimised and written.

Source: ours. It is the rate-distortion optimised quantisation of video encoders, done for all coefficients in parallel
as heat-bath (Gibbs sampling) updates of a random field, with a second-order expansion in place of the exact energies of
neighbours. Its limit at temperature 0 is the iterated conditional modes of Besag, "On the statistical analysis of dirty
pictures", 1986.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from codec.interface import Latents
from rdo import resuming
from rdo.config import RefineConfig
from rdo.cuda_graph import GraphedStep
from rdo.curvature import curvature_of
from rdo.objective import Best, Cost, Observe, Patience, Problem, keep_better, keep_if_better, priced, select
from rdo.relaxations import uniform
from rdo.resuming import Snapshots, Tensors, kept_nowhere, named
from rdo.schedules import Clock, geometric, quadratic

COST_RATIO_MAX = 1.1  # maximum cost during annealing, as a multiple of the starting cost
CURVATURE_GROWTH = 1.2  # factor on the curvature of y after each rejected step of annealing
ANNEALING_FRACTION = 0.9  # of the budget; the rest is descent at temperature 0
# move fraction of z, as a multiple of that of y: one z changes the bits of many y, and neighbours share some of these
Z_MOVE_FRACTION = 0.5


class MoveCosts(NamedTuple):
    """Rounded latents, and the predicted change of cost of moving each by +1 (`up`) and by -1 (`down`), in bits.

    The curvature term h / 2 is left out, as its scale changes from step to step; `with_curvature` adds it.
    """

    latents: Latents
    up: Latents
    down: Latents

    def with_curvature(self, curvature: Latents) -> "MoveCosts":
        """Return the costs with h / 2 added to the delta of every move."""
        up, down = (Latents(*(d + h / 2 for d, h in zip(both, curvature, strict=True))) for both in self[1:])
        return MoveCosts(self.latents, up, down)

    def select(self, chosen: Tensor, other: "MoveCosts") -> "MoveCosts":
        """Select these for the images that `chosen` (B,) marks, `other` for the rest."""
        return MoveCosts(*(select(chosen, new, old) for new, old in zip(self, other, strict=True)))


class State(NamedTuple):
    """State of the search between two steps, for B images.

    Attributes:
        moves: the current latents, and delta of each of their moves without the curvature term.
        cost: (B,), true cost of the current latents, bpp + lmbda * distortion.
        best: the latents of the lowest cost seen, and that cost.
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
    observe: Observe | None = None,
    curvature: Latents | None = None,
    snapshots: Snapshots | None = None,
) -> Best:
    """Search from `best` until the clock runs out or, at temperature 0, early stopping ends it.

    Annealing comes first, then descent at temperature 0. An image that annealing left at a higher cost than that of the
    start descends from the start instead.

    Args:
        problem: objective.
        best: rounded latents to start from, and their cost.
        config: temperature, move fractions, patience and seed are used.
        clock: budget; each step advances it.
        progress: called with the number of each step.
        observe: called with the number of each step and the true cost (B,) of the latents after it.
        curvature: h at `best`, as `curvature_of` returns it; None estimates it here.
        snapshots: saved states of this search, to go on from and to add to.

    Returns:
        The latents of the lowest true cost seen, never above that of `best`.
    """
    if clock.t >= 1:
        return best
    generator = torch.Generator(problem.x.device).manual_seed(config.seed)
    saved = snapshots.state if snapshots and snapshots.state and snapshots.state.stage == "search" else None
    if saved is not None:
        curvature = saved.latents("curvature", problem.x.device)
    elif curvature is None:
        curvature = curvature_of(problem, best.latents, generator=generator, clock=clock)
    state = start = _start(problem, best)
    sampler = _Sampler(problem, curvature, COST_RATIO_MAX * start.cost, generator)
    step = GraphedStep(sampler.step, generator, problem.metric.capturable)  # replayed on a GPU, else `sampler.step`
    patience = None  # counts once the temperature is 0
    if saved is not None:
        state = _resumed(problem, start, saved, generator)
        patience = Patience(config.patience, state.best) if bool(saved.tensors["descends"]) else None
    kept = snapshots.kept if snapshots else kept_nowhere
    with kept("search", clock, lambda: _saved(state, curvature, generator, descends=patience is not None)) as keep:
        while True:
            t = clock.t  # fraction of the budget that is spent
            temperature_bits = quadratic(config.temperature_bits, t / ANNEALING_FRACTION)
            move_fraction = geometric(config.move_fraction_start, config.move_fraction_end, t)
            if temperature_bits == 0:
                if patience is None:
                    patience, state = Patience(config.patience, state.best), _descent_start(state, start)
                elif patience.spent(state.best):
                    return state.best
            keep()
            clock.step += 1
            progress(clock.step)
            if clock.t >= 1:  # the last step needs no costs of further moves
                best = keep_if_better(problem, state.best, sampler.propose(state, temperature_bits, move_fraction))
                if observe is not None:
                    observe(clock.step, best.cost.total)
                return best
            state = step(state, temperature_bits, move_fraction)
            if observe is not None:
                observe(clock.step, state.cost.clone())  # a replayed CUDA graph overwrites it in place


def _start(problem: Problem, best: Best) -> State:
    """Return the state of a search that begins at rounded latents."""
    cost, moves = price_moves(problem, problem.rounded(best.latents))
    ones = torch.ones_like(cost.total)
    return State(moves, cost.total, keep_better(best, moves.latents, cost), ones, ones)


def _saved(state: State, curvature: Latents, generator: torch.Generator, *, descends: bool) -> Tensors:
    """Return all that the next steps depend on."""
    own = {"move_fraction": state.move_fraction, "curvature_scale": state.curvature_scale}
    latents = {"latents": state.moves.latents, "best": state.best.latents, "curvature": curvature}
    for name, each in latents.items():
        own |= named(name, each)
    return {**own, "noise": generator.get_state(), "descends": torch.tensor(descends)}


def _resumed(problem: Problem, start: State, saved: resuming.State, generator: torch.Generator) -> State:
    """Return the state that a saved one holds, its costs computed anew; set the noise to where it was."""
    device = problem.x.device
    generator.set_state(saved.tensors["noise"])
    cost, moves = price_moves(problem, saved.latents("latents", device))
    best = keep_better(start.best, *priced(problem, saved.latents("best", device)))
    scales = (saved.tensors[name].to(device) for name in ("move_fraction", "curvature_scale"))
    return State(moves, cost.total, best, *scales)


@dataclass(frozen=True)
class _Sampler:
    """Sampler of one step: proposes moves, computes the true cost of the moved latents, accepts or rejects per image.

    Attributes:
        problem: objective.
        curvature: h at the start of the search, of the shapes of the latents.
        cost_max: (B,), cost up to which steps are accepted during annealing.
        generator: source of all noise.
    """

    problem: Problem
    curvature: Latents
    cost_max: Tensor
    generator: torch.Generator

    def step(self, state: State, temperature_bits: Tensor, move_fraction: Tensor) -> State:
        """Move many latents at once and return the next state, without synchronising with the GPU.

        During annealing the moves of an image are accepted up to a cost of `cost_max`, so that the search may climb; at
        temperature 0, up to the cost of its current latents. A rejection keeps the latents and halves the image's move
        fraction; during annealing it also raises the curvature in delta of y, so that fewer moves look good.
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
        """Sample the moves of one step; round the result, as a move of z may shift the grid of y off integers."""
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
    """Return the state that descent begins from: per image the cheaper of `state` and `start`, move fractions reset."""
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
    """Move each latent to its neighbour of the lower delta with probability P(move).

    Args:
        v: latents (B, C, h, w).
        up: delta of v + 1, in bits, of the shape of v.
        down: delta of v - 1.
        temperature_bits: 0 makes only moves of negative delta.
        move_fraction: (B,), in 0..1; 1 makes all moves that the temperature allows.
        generator: source of the noise, on the device of v.
        one_per_position: whether at most one of the C latents of a position moves, that of the lowest delta after the
            noise is added.
    """
    # delta / T + logistic noise < 0 has the probability sigmoid(-delta / T)
    delta = torch.minimum(up, down) + temperature_bits * uniform(v, generator).clamp(1e-6, 1 - 1e-6).logit()
    chosen = (delta < 0) & (uniform(v, generator) < move_fraction[:, None, None, None])
    if one_per_position and v.numel():  # z is empty in codecs without a hyperprior
        chosen &= delta == delta.amin(1, keepdim=True)
    return torch.where(chosen, torch.where(up < down, v + 1, v - 1), v)


@torch.no_grad()
def follow_grid(problem: Problem, before: Latents, after: Latents) -> Latents:
    """Shift y by as much as a move of z shifted its grid, so that the symbols round(y - grid) stay."""
    codec = problem.codec
    if not codec.depends_on_z:
        return after
    shift_after, shift_before = (codec.shift(codec.mixture(before.y, z, problem.quality)) for z in (after.z, before.z))
    return after._replace(y=after.y + (shift_after - shift_before))


def price_moves(problem: Problem, latents: Latents) -> tuple[Cost, MoveCosts]:
    """Compute the true cost of rounded latents, and delta of all their moves, in one forward and one backward pass.

    The latents enter twice: as `free`, the input of the decoder and of the entropy model, whose gradient is g; and as
    constants, whose bits r are counted, so that g holds no derivative of a latent's own bits.
    """
    free = Latents(*(t.clone().requires_grad_() for t in latents))
    cost, mixture, bits = problem.price(free, latents, grid_gradient=True)
    gradient = Latents(*torch.autograd.grad(cost.total.sum() * problem.pixels, free, materialize_grads=True))
    mixture = type(mixture)(*(t.detach() for t in mixture))
    deltas = []
    for sign in (1, -1):
        moved_bits = _own_bits(problem, Latents(*(v + sign for v in latents)), mixture)
        terms = zip(moved_bits, bits, gradient, strict=True)
        deltas.append(Latents(*(r_moved - r.detach() + sign * g for r_moved, r, g in terms)))
    return Cost(*(t.detach() for t in cost)), MoveCosts(latents, *deltas)


@torch.no_grad()
def _own_bits(problem: Problem, latents: Latents, mixture: Any) -> Latents:
    """Compute the bits r of each latent under given entropy parameters."""
    return Latents(problem.codec.y_bits(latents.y, mixture), problem.codec.z_bits(latents.z, problem.quality))
