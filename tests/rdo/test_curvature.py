"""Curvature of the objective: exact for quadratics, never negative, by weights that are known, in limited time."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from codec.interface import Latents
from rdo.curvature import PROBE_STEP_COARSE, PROBE_STEP_FINE, curvature_of, hessian_diagonal
from rdo.distortion import Distortion, weight_of_mask
from rdo.objective import Problem
from rdo.schedules import Clock


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Stubbed:
    """A problem with a distortion of its own."""

    def __init__(self, problem: Problem, distortion: Callable[[Latents], Tensor]) -> None:
        self.problem, self.distortion = problem, distortion

    def __getattr__(self, name: str) -> object:
        return getattr(self.problem, name)


def test_curvature_of_a_quadratic() -> None:
    channel = torch.tensor([1.0, 4.0, 9.0])[None, :, None, None]
    position = torch.linspace(0.8, 1.2, 40)[None, None, None]
    weight = channel * position / position.mean()

    def bowl(v: Tensor) -> Tensor:
        return (0.5 * weight * v.square()).sum((1, 2, 3))

    for reach in (PROBE_STEP_COARSE, PROBE_STEP_FINE):
        found = hessian_diagonal(bowl, torch.randn(1, 3, 1, 40), reach, generator=generator(), clock=Clock(1, None))
        assert torch.allclose(found, weight.expand(1, 3, 1, 40), rtol=1e-3)


def test_curvature_keeps_steep_positions_that_are_known() -> None:
    known = torch.where(torch.arange(40) < 1, 30.0, 0.1)[None, None, None]
    known = known / known.mean()

    def bowl(v: Tensor) -> Tensor:
        return (0.5 * known * v.square()).sum((1, 2, 3))

    at = torch.randn(1, 3, 1, 40)
    found = hessian_diagonal(
        bowl, at, PROBE_STEP_FINE, generator=generator(), clock=Clock(1, None), position_weights=known
    )
    assert torch.allclose(found, known.expand(1, 3, 1, 40), rtol=1e-3)
    blind = hessian_diagonal(bowl, at, PROBE_STEP_FINE, generator=generator(), clock=Clock(1, None))
    assert float(blind.max()) < 0.5 * float(known.max()), "noise must not make single positions steep"


def test_a_mask_weighs_the_curvature(make_problem) -> None:
    problem, plain = make_problem()
    assert problem.position_weights(plain.latents.y) == 1
    mask = torch.zeros(1, 1, 60, 100)
    mask[..., 48:] = 1
    masked = problem._replace(metric=Distortion(weight=weight_of_mask(mask, 8.0)))
    weight = masked.position_weights(plain.latents.y)
    assert weight.shape == (1, 1, *plain.latents.y.shape[2:])
    assert torch.allclose(weight[..., 3:], masked.metric.weight.max()) and weight[..., :3].max() < 0.3
    steep, flat = (
        curvature_of(p, plain.latents, generator=generator(), clock=Clock(1, None)).y for p in (masked, problem)
    )
    assert 4 < float(steep[..., 4:].mean() / steep[..., :2].mean() / (flat[..., 4:].mean() / flat[..., :2].mean())) < 12


def test_curvature_is_never_negative_and_finite_for_a_flat_or_hollow_function() -> None:
    for scale in (0.0, -1.0):
        found = hessian_diagonal(
            lambda v, s=scale: (s * v.square()).sum((1, 2, 3)),
            torch.randn(2, 3, 4, 4),
            PROBE_STEP_COARSE,
            generator=generator(),
            clock=Clock(1, None),
        )
        assert bool((found >= 0).all()) and bool(found.isfinite().all())


def test_moves_of_y_are_dear_where_the_decoder_is_steep_near_or_far(make_problem) -> None:
    problem, plain = make_problem()
    start, found = torch.arange(16.0)[None, :, None, None] * 3, []
    for amplitude, wave in ((0.0, 1.0), (0.5, 0.25)):  # ripples are steep near, level for a probe of their length

        def distortion(latents: Latents, amplitude: float = amplitude, wave: float = wave) -> Tensor:
            angle = 2 * math.pi * (latents.y - start) / wave
            return (0.5 * latents.y.square() - amplitude * angle.cos()).sum((1, 2, 3)) / problem.lmbda / problem.pixels

        with_stub = Stubbed(problem, distortion)
        at = Latents(start.expand(plain.latents.y.shape), plain.latents.z)
        found.append(curvature_of(with_stub, at, generator=generator(), clock=Clock(1, None)).y)
    smooth, rippled = found
    assert torch.allclose(smooth, torch.ones_like(smooth), rtol=1e-2)
    assert bool((rippled > 100).all())  # 0.5 (2 pi / 0.25)^2 (sin x / x) near; 1 far


def test_probes_leave_most_of_a_short_time_to_steps(make_problem) -> None:
    problem, plain = make_problem()
    y, z = curvature_of(problem, plain.latents, generator=generator(), clock=Clock(10**6, 1e-9))
    assert bool(y.isfinite().all()) and bool((y > 0).any())
    assert bool(z.isinf().all()), "what was not probed stays"
    assert bool(curvature_of(problem, plain.latents, generator=generator(), clock=Clock(10**6, 1e9)).z.isfinite().all())
