"""The discrete search: its delta against the true cost of single moves, its probabilities, and where it may end."""

import math

import pytest
import torch
from torch import Tensor

from codec.interface import Latents
from rdo.config import RefineConfig
from rdo.curvature import curvature_of
from rdo.objective import Best
from rdo.rdoq import ANNEALING_FRACTION, price_moves, sample_moves, search
from rdo.schedules import Clock


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def flipped(v: Tensor, index: tuple[int, ...], by: int) -> Tensor:
    moved = v.clone()
    moved[index] += by
    return moved


def test_delta_is_what_a_single_move_really_changes(make_problem, monkeypatch) -> None:
    # an untrained network adds more than the limit, beyond which the gradient is not the slope
    monkeypatch.setattr("codec.networks.lapped.CORRECTION_MAX", float("inf"))
    problem, plain = make_problem()
    y, z = plain.latents
    cost, moves = price_moves(problem, plain.latents)
    moves = moves.with_curvature(curvature_of(problem, plain.latents, generator=generator(), clock=Clock(1, None)))
    assert torch.allclose(cost.total, plain.cost.total)
    predicted, true = [], []
    with torch.no_grad():
        for channel in range(0, y.shape[1], 2):
            for by, delta in ((1, moves.up.y), (-1, moves.down.y)):
                index = (0, channel, channel % y.shape[2], (3 * channel) % y.shape[3])
                changed = problem.cost(Latents(flipped(y, index, by), z)).total - plain.cost.total
                predicted.append(float(delta[index]))
                true.append(float(changed) * problem.pixels)
    both = torch.tensor([predicted, true])
    assert float(torch.corrcoef(both)[0, 1]) > 0.97
    assert float((both[0] - both[1]).abs().median() / both[1].abs().median()) < 0.25


def test_the_own_rate_in_delta_is_exact(make_problem) -> None:
    problem, plain = make_problem()
    _, moves = price_moves(problem, plain.latents)
    y, z = plain.latents
    with torch.no_grad():
        mixture = problem.codec.mixture(y, z, problem.quality)
        rates = [problem.codec.y_bits(y + k, mixture) for k in (-1, 0, 1)]
    # the gradient of all else cancels between the two neighbours
    assert torch.allclose(moves.up.y + moves.down.y, rates[0] + rates[2] - 2 * rates[1], atol=2e-3)


def test_at_temperature_0_only_what_pays_moves_and_towards_the_better_neighbour() -> None:
    v = torch.arange(6.0).reshape(1, 6, 1, 1)
    up = torch.tensor([-1.0, 1.0, -1.0, -3.0, 1.0, 0.0]).reshape(1, 6, 1, 1)
    down = torch.tensor([1.0, -1.0, -3.0, -1.0, 1.0, 0.0]).reshape(1, 6, 1, 1)
    everywhere = {"temperature_bits": 0.0, "move_fraction": torch.ones(1)}
    moved = sample_moves(v, up, down, **everywhere, generator=generator()) - v
    assert moved.flatten().tolist() == [1, -1, -1, 1, 0, 0]


@pytest.mark.parametrize(
    ("delta", "temperature_bits", "move_fraction"),
    [(-1.0, 1.0, 0.5), (2.0, 1.0, 1.0), (0.0, 3.0, 0.3), (-4.0, 0.0, 0.2)],
)
def test_moves_have_the_probability_that_is_said(delta: float, temperature_bits: float, move_fraction: float) -> None:
    v = torch.zeros(1, 20_000, 1, 1)
    moved = sample_moves(
        v,
        torch.full_like(v, delta),
        torch.full_like(v, 50.0),
        temperature_bits=temperature_bits,
        move_fraction=torch.tensor([move_fraction]),
        generator=generator(),
    )
    sigmoid = 1 / (1 + math.exp(delta / temperature_bits)) if temperature_bits else float(delta < 0)
    expected = move_fraction * sigmoid
    assert float(moved.mean()) == pytest.approx(expected, abs=0.015)


@pytest.mark.parametrize("temperature_bits", [0.0, 2.0])
def test_gains_and_never_ends_worse(make_problem, temperature_bits: float) -> None:
    problem, plain = make_problem()
    found = search(
        problem,
        plain,
        RefineConfig(temperature_bits=temperature_bits),
        clock=Clock(20, None),
        progress=lambda step: None,
    )
    with torch.no_grad():
        assert torch.allclose(problem.cost(found.latents).total, found.cost.total)
    assert float(found.cost.total) < 0.99 * float(plain.cost.total)
    assert all(torch.equal(v, v.round()) and not v.requires_grad for v in found.latents)


@pytest.mark.parametrize("temperature_bits", [30.0, 1000.0])
def test_a_temperature_that_leads_astray_costs_the_gain_of_its_steps_alone(
    make_problem, temperature_bits: float
) -> None:
    problem, plain = make_problem()
    config = RefineConfig(temperature_bits=temperature_bits, move_fraction_start=1, move_fraction_end=0.5)
    found = search(problem, plain, config, clock=Clock(40, None), progress=lambda step: None)
    cold = search(problem, plain, RefineConfig(temperature_bits=0), clock=Clock(8, None), progress=lambda step: None)
    gain, of_cold = (float(plain.cost.total - f.cost.total) for f in (found, cold))
    assert gain > 0.5 * of_cold > 0


def test_more_steps_find_better_places(make_problem) -> None:
    problem, plain = make_problem()
    ends = [
        search(
            problem, plain, RefineConfig(temperature_bits=0.5), clock=Clock(n, None), progress=lambda s: None
        ).cost.total
        for n in (1, 5, 60)
    ]
    assert ends[0] > ends[1] > ends[2]


def test_a_move_that_fails_makes_the_next_round_smaller(make_problem) -> None:
    problem, plain = make_problem()
    greedy = problem._replace(lmbda=torch.tensor([1e-6]))  # rate alone: moves depend on each other most
    plain = Best(plain.latents, greedy.cost(plain.latents))
    config = RefineConfig(temperature_bits=0.0, move_fraction_start=1, move_fraction_end=1)
    costs = [
        float(search(greedy, plain, config, clock=Clock(n, None), progress=lambda step: None).cost.total)
        for n in (2, 4, 8, 16)
    ]
    assert costs == sorted(costs, reverse=True) and costs[-1] < float(plain.cost.total)


def test_patience_ends_a_search_that_finds_nothing_more(make_problem) -> None:
    problem, plain = make_problem()

    def run(patience: int, steps: int = 400) -> tuple[int, float]:
        clock = Clock(steps, None)
        config = RefineConfig(iters=steps, temperature_bits=0.0, patience=patience)
        best = search(problem, plain, config, clock=clock, progress=lambda step: None)
        return clock.step, float(best.cost.total)

    (_, long), (steps, short) = run(0), run(16)
    assert 16 < steps < 400
    assert short <= long + 0.05 * (float(plain.cost.total) - long)


def test_patience_waits_for_the_end_of_annealing(make_problem) -> None:
    problem, plain = make_problem()
    clock = Clock(100, None)
    search(
        problem,
        plain,
        RefineConfig(iters=100, temperature_bits=2.0, patience=1),
        clock=clock,
        progress=lambda step: None,
    )
    assert clock.step > ANNEALING_FRACTION * 100


def test_where_one_of_a_position_may_move_it_is_the_best() -> None:
    up = torch.tensor([-1.0, -3.0, 2.0])[None, :, None, None].expand(1, 3, 2, 2).clone()
    up[0, 0, 1, 1] = -5.0
    down, everywhere = torch.full_like(up, 1.0), {"temperature_bits": 0.0, "move_fraction": torch.ones(1)}
    v = torch.zeros_like(up)
    moved = sample_moves(v, up, down, **everywhere, generator=generator(), one_per_position=True)
    best = torch.zeros(3, 2, 2)
    best[1], best[0, 1, 1], best[1, 1, 1] = 1.0, 1.0, 0.0
    assert torch.equal(moved[0], best)
    many = sample_moves(v, up, down, **everywhere, generator=generator())
    assert float(many.sum()) == 8, "two of three channels, everywhere"


def test_patience_counts_no_look_before_the_first_move(make_problem) -> None:
    problem, plain = make_problem()
    clock = Clock(8, None)
    best = search(
        problem, plain, RefineConfig(iters=8, temperature_bits=0.0, patience=1), clock=clock, progress=lambda step: None
    )
    assert clock.step and bool(best.cost.total < plain.cost.total)


def test_it_searches_where_gradients_are_off(make_problem) -> None:
    problem, plain = make_problem()
    with torch.no_grad():
        best = search(
            problem,
            plain,
            RefineConfig(iters=3, temperature_bits=0.0),
            clock=Clock(3, None),
            progress=lambda step: None,
        )
    assert bool(best.cost.total < plain.cost.total)
