"""The discrete search: its delta against the true cost of single moves, its chances, and where it may end."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from codec.coding import plain_latents
from codec.images.pixels import Pixels, to_tensor
from codec.model import Codec, Latents
from rdo.config import RefineConfig
from rdo.distortion import Distortion, weight_of_mask
from rdo.objective import Best, Problem
from rdo.rdoq import FAR, HOT, NEAR, curvature, curvatures, move, search, survey
from rdo.schedules import Clock

LMBDA = 1e-3


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def problem_of(codec: Codec, photo: Callable, height: int = 60, width: int = 100) -> tuple[Problem, Best]:
    x = to_tensor(Pixels(photo(height, width), grey=False))
    quality = codec.level(4.0)
    problem = Problem(codec, x, quality, torch.tensor([LMBDA]))
    with torch.no_grad():
        plain = plain_latents(codec, x, quality)
        return problem, Best(plain, problem.cost(plain))


class Stubbed:
    """A problem with a distortion of its own."""

    def __init__(self, problem: Problem, distortion: Callable[[Latents], Tensor]) -> None:
        self.problem, self.distortion = problem, distortion

    def __getattr__(self, name: str) -> object:
        return getattr(self.problem, name)


def flipped(v: Tensor, index: tuple[int, ...], by: int) -> Tensor:
    moved = v.clone()
    moved[index] += by
    return moved


def test_delta_is_what_a_single_move_really_changes(tiny_codec, photo) -> None:
    problem, plain = problem_of(tiny_codec, photo)
    y, z = plain.latents
    cost, view = survey(problem, plain.latents)
    view = view.bent(curvatures(problem, plain.latents, generator(), Clock(1, None)))
    assert torch.allclose(cost.total, plain.cost.total)
    predicted, true = [], []
    with torch.no_grad():
        for channel in range(0, y.shape[1], 2):
            for by, delta in ((1, view.up.y), (-1, view.down.y)):
                index = (0, channel, channel % y.shape[2], (3 * channel) % y.shape[3])
                changed = problem.cost(Latents(flipped(y, index, by), z)).total - plain.cost.total
                predicted.append(float(delta[index]))
                true.append(float(changed) * problem.pixels)
    both = torch.tensor([predicted, true])
    assert float(torch.corrcoef(both)[0, 1]) > 0.97
    assert float((both[0] - both[1]).abs().median() / both[1].abs().median()) < 0.25


def test_the_own_rate_in_delta_is_exact(tiny_codec, photo) -> None:
    problem, plain = problem_of(tiny_codec, photo)
    _, view = survey(problem, plain.latents)
    y, z = plain.latents
    with torch.no_grad():
        mixture = tiny_codec.mixture(y, z, problem.quality)
        rates = [tiny_codec.y_bits(y + k, mixture) for k in (-1, 0, 1)]
    # the gradient of all else cancels between the two neighbours
    assert torch.allclose(view.up.y + view.down.y, rates[0] + rates[2] - 2 * rates[1], atol=2e-3)


def test_curvature_of_a_quadratic() -> None:
    channel = torch.tensor([1.0, 4.0, 9.0])[None, :, None, None]
    position = torch.linspace(0.8, 1.2, 40)[None, None, None]
    weight = channel * position / position.mean()

    def bowl(v: Tensor) -> Tensor:
        return (0.5 * weight * v.square()).sum((1, 2, 3))

    for reach in (FAR, NEAR):
        found = curvature(bowl, torch.randn(1, 3, 1, 40), reach, generator(), Clock(1, None))
        assert torch.allclose(found, weight.expand(1, 3, 1, 40), rtol=1e-3)


def test_curvature_keeps_steep_positions_that_are_known() -> None:
    known = torch.where(torch.arange(40) < 1, 30.0, 0.1)[None, None, None]
    known = known / known.mean()

    def bowl(v: Tensor) -> Tensor:
        return (0.5 * known * v.square()).sum((1, 2, 3))

    at = torch.randn(1, 3, 1, 40)
    found = curvature(bowl, at, NEAR, generator(), Clock(1, None), known)
    assert torch.allclose(found, known.expand(1, 3, 1, 40), rtol=1e-3)
    blind = curvature(bowl, at, NEAR, generator(), Clock(1, None))
    assert float(blind.max()) < 0.5 * float(known.max()), "noise must not make single positions steep"


def test_a_mask_weighs_the_curvature(tiny_codec, photo) -> None:
    problem, plain = problem_of(tiny_codec, photo)
    assert problem.weight_of(plain.latents.y) == 1
    mask = torch.zeros(1, 1, 60, 100)
    mask[..., 48:] = 1
    masked = problem._replace(measure=Distortion(weight=weight_of_mask(mask, 8.0)))
    weight = masked.weight_of(plain.latents.y)
    assert weight.shape == (1, 1, *plain.latents.y.shape[2:])
    assert torch.allclose(weight[..., 3:], masked.measure.weight.max()) and weight[..., :3].max() < 0.3
    steep, flat = (curvatures(p, plain.latents, generator(), Clock(1, None)).y for p in (masked, problem))
    assert 4 < float(steep[..., 4:].mean() / steep[..., :2].mean() / (flat[..., 4:].mean() / flat[..., :2].mean())) < 12


def test_curvature_is_never_negative_and_finite_for_a_flat_or_hollow_function() -> None:
    for scale in (0.0, -1.0):
        found = curvature(
            lambda v, s=scale: (s * v.square()).sum((1, 2, 3)),
            torch.randn(2, 3, 4, 4),
            FAR,
            generator(),
            Clock(1, None),
        )
        assert bool((found >= 0).all()) and bool(found.isfinite().all())


def test_moves_of_y_are_dear_where_the_decoder_is_steep_near_or_far(tiny_codec, photo) -> None:
    problem, plain = problem_of(tiny_codec, photo)
    start, found = torch.arange(16.0)[None, :, None, None] * 3, []
    for amplitude, wave in ((0.0, 1.0), (0.5, 0.25)):  # ripples are steep near, level for a probe of their length

        def distortion(latents: Latents, amplitude: float = amplitude, wave: float = wave) -> Tensor:
            angle = 2 * math.pi * (latents.y - start) / wave
            return (0.5 * latents.y.square() - amplitude * angle.cos()).sum((1, 2, 3)) / LMBDA / problem.pixels

        with_stub = Stubbed(problem, distortion)
        found.append(
            curvatures(
                with_stub, Latents(start.expand(plain.latents.y.shape), plain.latents.z), generator(), Clock(1, None)
            ).y
        )
    smooth, rippled = found
    assert torch.allclose(smooth, torch.ones_like(smooth), rtol=1e-2)
    assert bool((rippled > 100).all())  # 0.5 (2 pi / 0.25)^2 (sin x / x) near; 1 far


def test_without_heat_only_what_pays_moves_and_towards_the_better_neighbour() -> None:
    v = torch.arange(6.0).reshape(1, 6, 1, 1)
    up = torch.tensor([-1.0, 1.0, -1.0, -3.0, 1.0, 0.0]).reshape(1, 6, 1, 1)
    down = torch.tensor([1.0, -1.0, -3.0, -1.0, 1.0, 0.0]).reshape(1, 6, 1, 1)
    moved = move(v, up, down, 0.0, torch.ones(1), generator()) - v
    assert moved.flatten().tolist() == [1, -1, -1, 1, 0, 0]


@pytest.mark.parametrize(
    ("delta", "heat", "share"), [(-1.0, 1.0, 0.5), (2.0, 1.0, 1.0), (0.0, 3.0, 0.3), (-4.0, 0.0, 0.2)]
)
def test_moves_have_the_chance_that_is_said(delta: float, heat: float, share: float) -> None:
    v = torch.zeros(1, 20_000, 1, 1)
    moved = move(v, torch.full_like(v, delta), torch.full_like(v, 50.0), heat, torch.tensor([share]), generator())
    expected = share * (1 / (1 + math.exp(delta / heat)) if heat else float(delta < 0))
    assert float(moved.mean()) == pytest.approx(expected, abs=0.015)


@pytest.mark.parametrize("heat", [0.0, 2.0])
def test_gains_and_never_ends_worse(tiny_codec, photo, heat: float) -> None:
    problem, plain = problem_of(tiny_codec, photo)
    found = search(problem, plain, RefineConfig(temperature_bits=heat), Clock(20, None), lambda step: None)
    with torch.no_grad():
        assert torch.allclose(problem.cost(found.latents).total, found.cost.total)
    assert float(found.cost.total) < 0.99 * float(plain.cost.total)
    assert all(torch.equal(v, v.round()) and not v.requires_grad for v in found.latents)


@pytest.mark.parametrize("heat", [30.0, 1000.0])
def test_heat_that_leads_astray_costs_the_gain_of_its_steps_alone(tiny_codec, photo, heat: float) -> None:
    problem, plain = problem_of(tiny_codec, photo)
    config = RefineConfig(temperature_bits=heat, move_fraction_start=1, move_fraction_end=0.5)
    found = search(problem, plain, config, Clock(40, None), lambda step: None)
    cold = search(problem, plain, RefineConfig(temperature_bits=0), Clock(8, None), lambda step: None)
    gain, of_cold = (float(plain.cost.total - f.cost.total) for f in (found, cold))
    assert gain > 0.5 * of_cold > 0


def test_more_steps_find_better_places(tiny_codec, photo) -> None:
    problem, plain = problem_of(tiny_codec, photo)
    ends = [
        search(problem, plain, RefineConfig(temperature_bits=0.5), Clock(n, None), lambda s: None).cost.total
        for n in (1, 5, 60)
    ]
    assert ends[0] > ends[1] > ends[2]


def test_a_move_that_fails_makes_the_next_round_smaller(tiny_codec, photo) -> None:
    problem, plain = problem_of(tiny_codec, photo)
    greedy = problem._replace(lmbda=torch.tensor([1e-6]))  # rate alone: moves depend on each other most
    plain = Best(plain.latents, greedy.cost(plain.latents))
    costs = [
        float(
            search(
                greedy,
                plain,
                RefineConfig(temperature_bits=0.0, move_fraction_start=1, move_fraction_end=1),
                Clock(n, None),
                lambda s: None,
            ).cost.total
        )
        for n in (2, 4, 8, 16)
    ]
    assert costs == sorted(costs, reverse=True) and costs[-1] < float(plain.cost.total)


def test_patience_ends_a_search_that_finds_nothing_more(tiny_codec, photo) -> None:
    problem, plain = problem_of(tiny_codec, photo)

    def run(patience: int, steps: int = 400) -> tuple[int, float]:
        clock = Clock(steps, None)
        config = RefineConfig(iters=steps, temperature_bits=0.0, patience=patience)
        best = search(problem, plain, config, clock, lambda step: None)
        return clock.step, float(best.cost.total)

    (_, long), (steps, short) = run(0), run(16)
    assert 16 < steps < 400
    assert short <= long + 0.05 * (float(plain.cost.total) - long)


def test_patience_waits_until_the_heat_is_gone(tiny_codec, photo) -> None:
    problem, plain = problem_of(tiny_codec, photo)
    clock = Clock(100, None)
    search(problem, plain, RefineConfig(iters=100, temperature_bits=2.0, patience=1), clock, lambda step: None)
    assert clock.step > HOT * 100


def test_of_those_that_move_alone_only_the_best_of_a_position_does() -> None:
    up = torch.tensor([-1.0, -3.0, 2.0])[None, :, None, None].expand(1, 3, 2, 2).clone()
    up[0, 0, 1, 1] = -5.0
    down = torch.full_like(up, 1.0)
    moved = move(torch.zeros_like(up), up, down, 0.0, torch.ones(1), generator(), alone=True)
    best = torch.zeros(3, 2, 2)
    best[1], best[0, 1, 1], best[1, 1, 1] = 1.0, 1.0, 0.0
    assert torch.equal(moved[0], best)
    many = move(torch.zeros_like(up), up, down, 0.0, torch.ones(1), generator())
    assert float(many.sum()) == 8, "two of three channels, everywhere"


def test_patience_counts_no_look_before_the_first_move(tiny_codec, photo) -> None:
    problem, plain = problem_of(tiny_codec, photo)
    clock = Clock(8, None)
    best = search(problem, plain, RefineConfig(iters=8, temperature_bits=0.0, patience=1), clock, lambda step: None)
    assert clock.step and bool(best.cost.total < plain.cost.total)


def test_probes_leave_most_of_a_short_time_to_steps(tiny_codec, photo) -> None:
    problem, plain = problem_of(tiny_codec, photo)
    y, z = curvatures(problem, plain.latents, generator(), Clock(10**6, 1e-9))
    assert bool(y.isfinite().all()) and bool((y > 0).any())
    assert bool(z.isinf().all()), "what was not probed stays"
    assert bool(curvatures(problem, plain.latents, generator(), Clock(10**6, 1e9)).z.isfinite().all())


def test_it_searches_where_gradients_are_off(tiny_codec, photo) -> None:
    problem, plain = problem_of(tiny_codec, photo)
    with torch.no_grad():
        best = search(problem, plain, RefineConfig(iters=3, temperature_bits=0.0), Clock(3, None), lambda step: None)
    assert bool(best.cost.total < plain.cost.total)
