"""Relaxations: which values they may give, with what chance, and gradients that are finite everywhere."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from codec.errors import ConfigError
from codec.settings import build, override
from rdo import RefineConfig, refine, relaxations
from rdo.relaxations import EXACT, Relaxation, relaxation_of

AWKWARD = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.5, 1e-7, -1e-7, 1 - 1e-7, 1 + 1e-6, -3 + 1e-6, 0.49999997, 99.5, -99.3]
SAMPLES = 20_000
latents = arrays(np.float32, st.integers(1, 40), elements=st.floats(-300, 300, width=32)).map(torch.from_numpy)


def of_one_image(relax: Relaxation) -> Relaxation:
    return lambda latent, temperature, generator: relax(latent[None], temperature, generator)[0]


RELAXATIONS = {name: of_one_image(relax) for name, relax in relaxations.RELAXATIONS.items()}
ste, sga, soft_round = (RELAXATIONS[name] for name in ("ste", "sga", "soft_round"))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def awkward() -> Tensor:
    return torch.tensor(AWKWARD).repeat(64).requires_grad_()


@given(latents)
def test_ste_is_rounding_with_the_gradient_of_the_identity(latent: Tensor) -> None:
    latent.requires_grad_()
    out = ste(latent, 0.3, generator())
    assert torch.equal(out, latent.round())
    out.sum().backward()
    assert torch.equal(latent.grad, torch.ones_like(latent))


@given(latents, st.sampled_from([0.01, 0.1, 0.5, 3.0]))
def test_sga_lies_between_floor_and_ceiling(latent: Tensor, temperature: float) -> None:
    out = sga(latent, temperature, generator())
    above = torch.where(latent == latent.floor(), latent + 1, latent.ceil())  # an integer's upper neighbour is rare
    assert out.shape == latent.shape and out.dtype == latent.dtype
    assert bool((out >= latent.floor()).all()) and bool((out <= above).all())


@pytest.mark.parametrize("name", RELAXATIONS)
@pytest.mark.parametrize("temperature", [1e-3, 0.04, 0.5, 100.0])
def test_values_and_gradients_are_finite_everywhere(name, temperature: float) -> None:
    latent = awkward()
    out = RELAXATIONS[name](latent, temperature, generator())
    out.sum().backward()
    assert bool(out.isfinite().all()) and bool(latent.grad.isfinite().all())
    assert bool((latent.grad >= 0).all())  # the relaxed latent never falls when the latent rises


@pytest.mark.parametrize("name", sorted(EXACT))
def test_exact_relaxations_give_integers(name) -> None:
    out = RELAXATIONS[name](torch.randn(1000) * 5, 0.5, generator())
    assert torch.equal(out, out.round())


def test_cold_sga_is_nearest_rounding() -> None:
    latent = torch.rand(SAMPLES, generator=generator(1)) * 20 - 10
    latent = latent[(latent - latent.floor() - 0.5).abs() > 0.05]
    off = (sga(latent, 0.01, generator()) - latent.round()).abs()
    assert float((off < 1e-3).float().mean()) > 0.999


@pytest.mark.parametrize("offset", [0.0, 1e-6, -1e-6])
@pytest.mark.parametrize("temperature", [0.04, 0.5])
def test_sga_leaves_integers_alone(offset: float, temperature: float) -> None:
    integers = torch.arange(-4.0, 5).repeat(2000)
    off = (sga(integers + offset, temperature, generator()) - integers).abs()
    assert float((off < 0.01).float().mean()) > 0.999


def test_hot_sga_is_a_uniform_mixture() -> None:
    out = sga(torch.full((SAMPLES,), 2.1), 1e3, generator())
    assert torch.allclose(out, torch.tensor(2.5), atol=0.05)


@pytest.mark.parametrize("above", [0.2, 0.4, 0.5, 0.7, 0.95])
@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_sga_picks_the_ceiling_as_often_as_the_paper_says(above: float, temperature: float) -> None:
    down, up = (math.exp(-math.atanh(distance) / temperature) for distance in (above, 1 - above))
    picked = sga(torch.full((SAMPLES,), -3 + above), temperature, generator()) > -2.5
    assert float(picked.float().mean()) == pytest.approx(up / (down + up), abs=0.015)


@pytest.mark.parametrize("temperature", [0.04, 0.5, 2.0])
def test_expectation_of_sga_rises_with_the_latent(temperature: float) -> None:
    grid = torch.linspace(2, 3, 41)[:-1]
    means = torch.stack([sga(v.expand(4000), temperature, generator()).mean() for v in grid])  # the same noise for each
    assert bool((means.diff() >= -1e-4).all()) and float(means[-1] - means[0]) > 0.3
    assert float(means[20]) == pytest.approx(2.5, abs=0.03)


def test_noise_follows_the_seed() -> None:
    latent = torch.rand(100, generator=generator(1))
    assert torch.equal(sga(latent, 0.5, generator(3)), sga(latent, 0.5, generator(3)))
    assert not torch.equal(sga(latent, 0.5, generator(3)), sga(latent, 0.5, generator(4)))


TWO_CLASSES = ["sga", "annealing", "linear", "cosine", "ssl"]
LOGITS = {
    "annealing": lambda d: -math.atanh(d),
    "sga": lambda d: -math.atanh(d),
    "linear": lambda d: math.log(1 - d),
    "cosine": lambda d: math.log(math.cos(math.pi * d / 2) ** 2),
    "ssl": lambda d: -math.log1p(((1 - d) / d) ** -2.3),
}


@pytest.mark.parametrize("name", TWO_CLASSES)
@pytest.mark.parametrize("above", [0.2, 0.5, 0.7])
def test_chances_follow_the_published_logits(name, above: float) -> None:
    down, up = (math.exp(LOGITS[name](distance) / 0.4) for distance in (above, 1 - above))
    out = RELAXATIONS[name](torch.full((SAMPLES,), 5 + above), 0.4, generator())
    found = float((out - 5).mean()) if name == "annealing" else float((out > 5.5).float().mean())
    assert found == pytest.approx(up / (down + up), abs=0.015)


@pytest.mark.parametrize("name", [n for n in RELAXATIONS if n != "noise"])
def test_cold_is_nearest_rounding(name) -> None:
    latent = torch.rand(2000, generator=generator(1)) * 20 - 10
    latent = latent[(latent - latent.floor() - 0.5).abs() > 0.1]
    off = (RELAXATIONS[name](latent, 0.01, generator()) - latent.round()).abs()
    assert float((off < 0.02).float().mean()) > 0.99


@pytest.mark.parametrize("name", ["linear3", "cosine3", "ssl3"])
def test_three_classes_reach_beyond_the_nearest_two(name) -> None:
    out = RELAXATIONS[name](torch.full((SAMPLES,), 2.1), 2.0, generator())
    assert float(out.min()) < 1.5 and float(out.max()) > 2.5
    assert float(out.mean()) == pytest.approx(2.1, abs=0.2)


def test_noise_is_a_whole_step_wide_and_unbiased() -> None:
    out = RELAXATIONS["noise"](torch.full((SAMPLES,), 1.3), 0.1, generator()) - 1.3
    assert float(out.abs().max()) <= 0.5 and float(out.mean()) == pytest.approx(0, abs=0.01)
    assert float(out.var()) == pytest.approx(1 / 12, rel=0.05)


def test_warm_soft_rounding_is_the_identity_with_noise() -> None:
    latent = torch.linspace(-3, 3, 500)
    assert torch.allclose(soft_round(latent, 50.0, generator()), latent, atol=26.0)
    out = soft_round(latent.repeat(400), 0.8, generator()).reshape(400, -1).mean(0)
    assert float((out - latent).abs().max()) < 0.35


def sine(latent: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """v - (1 - T) sin(2 pi v) / (2 pi): a relaxation of one's own, without noise."""
    return latent - (1 - temperature) * torch.sin(2 * torch.pi * latent) / (2 * torch.pi)


def narrow(latent: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    return latent[..., :1]


def cut_off(latent: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    return latent.detach().round()


def nothing(latent: Tensor, temperature: float, generator: torch.Generator) -> None:
    return None


def test_a_relaxation_of_ones_own_is_what_descends(tiny_codec, make_problem, monkeypatch: pytest.MonkeyPatch) -> None:
    x, temperatures = make_problem()[0].x, list[float]()

    def recorded(latent: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
        temperatures.append(temperature)
        return latent + (latent.round() - latent).detach()  # that of `ste`

    monkeypatch.setattr(f"{__name__}.sine", recorded)
    config = RefineConfig(iters=6, method=f"{__name__}:sine", lr_y=0.1, temperature_start=0.5, temperature_end=0.2)
    refined = refine(tiny_codec, x, 4.0, config=config, lmbda=1e-4)
    assert refined.method == f"{__name__}:sine" and refined.iters == 6
    assert len(temperatures) == 12 and temperatures[0] == pytest.approx(0.5)  # y and z at each step
    assert float(refined.cost_est.total) < float(refined.plain_cost_est.total)
    assert 0.2 < temperatures[-1] < 0.3


def test_its_name_goes_wherever_a_method_does() -> None:
    name = f"{__name__}:sine"
    assert build(RefineConfig, {"method": name}) == override(RefineConfig(), {"method": name})
    out = relaxation_of(name)(torch.tensor([0.2]), 1.0, generator())
    assert torch.allclose(out, torch.tensor([0.2]))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("narrow", r"narrow: returns latents \(1, 2, 1\): must return relaxed latents \(1, 2, 3\)"),
        ("cut_off", "cut_off: returns latents without a gradient"),
        ("nothing", "nothing: returns a NoneType"),
    ],
)
def test_results_that_cannot_be_descended_on_are_told(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        relaxation_of(f"{__name__}:{name}")(torch.zeros(1, 2, 3).requires_grad_(), 0.5, generator())


@pytest.mark.parametrize(
    ("method", "text"),
    [
        (
            "sgaa",
            "mine.yaml: method: unknown value 'sgaa'; did you mean 'sga'\\? valid values: rdoq, .*:function",
        ),
        ("nonesuch:mine", "mine.yaml: method: nonesuch:mine: cannot be imported"),
        ("math:pi", "method: math:pi: is a float: name a function that relaxes latents"),
    ],
)
def test_a_method_that_is_not_there_is_told_before_it_is_needed(method: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        build(RefineConfig, {"method": method}, "mine.yaml")
    with pytest.raises(ConfigError, match="nonesuch"):
        relaxation_of("nonesuch")
