"""Refinement: never worse, honest about its cost, alone in its batch, and stopped when told."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import rdo
from codec.architecture import lmbda_of
from codec.coding import encode, write
from codec.errors import ConfigError
from codec.images.pixels import Pixels, pad, to_tensor
from codec.interface import Latents
from codec.model import Codec
from rdo import RefineConfig, Refined, refine
from rdo.descent import check_times
from rdo.objective import Best, Cost, Problem, keep_better

METHODS = ["rdoq", "ste", "sga", "soft_round", "ssl3"]
QUICK = RefineConfig(iters=8, method="sga", lr_y=0.1, lr_z=0.05)
LMBDA = 1e-4  # rate and distortion of an untrained codec weigh about the same


@pytest.fixture(scope="module")
def picture(photo: Callable) -> Callable[..., Tensor]:
    return lambda height, width, seed=0: to_tensor(Pixels(photo(height, width, seed), grey=False))


def price(codec: Codec, latents: Latents, x: Tensor, lmbda: float = LMBDA) -> Tensor:
    quality = codec.level(4.0).expand(len(x))
    with torch.no_grad():
        return Problem(codec, x, quality, torch.full((len(x),), lmbda)).cost(latents).total


def same(a: Latents, b: Latents) -> bool:
    return torch.equal(a.y, b.y) and torch.equal(a.z, b.z)


def gain_percent(refined: Refined) -> float:
    return float(100 * (1 - refined.cost_est.total / refined.plain_cost_est.total))


@pytest.mark.parametrize("iters", [0, 1, 8])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("height", "width"), [(1, 1), (70, 90), (64, 64)])
def test_never_worse_than_plain(tiny_codec, picture, height: int, width: int, method, iters: int) -> None:
    x = picture(height, width)
    refined = refine(tiny_codec, x, 4.0, config=replace(QUICK, iters=iters, method=method), lmbda=LMBDA)
    assert float(refined.cost_est.total) <= float(refined.plain_cost_est.total)
    assert (refined.iters, refined.method) == (iters, method)
    for latents, claimed in ((refined.latents, refined.cost_est), (refined.plain, refined.plain_cost_est)):
        assert all(torch.equal(t, t.round()) and not t.requires_grad for t in latents)
        assert torch.allclose(claimed.total, price(tiny_codec, latents, x), rtol=1e-6)
        assert torch.allclose(claimed.total, claimed.bpp + LMBDA * claimed.distortion)
    assert write(tiny_codec, refined.latents, width=width, height=height, quality=4.0, grey=False)


def test_plain_is_what_a_plain_encoder_writes(tiny_codec, picture, photo: Callable) -> None:
    refined = refine(tiny_codec, picture(70, 90), 4.0, config=RefineConfig(iters=0))
    assert same(refined.latents, refined.plain) and refined.cost_est is refined.plain_cost_est
    with torch.no_grad():
        analysed = tiny_codec.analyse(pad(picture(70, 90), 64), torch.tensor([4.0]))
    assert same(refined.plain, Latents(*(v.round() for v in analysed)))
    assert write(tiny_codec, refined.plain, width=90, height=70, quality=4.0, grey=False) == encode(
        tiny_codec, Pixels(photo(70, 90), False)
    )


def test_lmbda_defaults_to_what_fits_the_quality(tiny_codec, picture) -> None:
    found = refine(tiny_codec, picture(20, 30), 2.5, config=RefineConfig(iters=0)).cost_est
    assert torch.allclose(found.total, found.bpp + lmbda_of(2.5) * found.distortion)


@pytest.mark.parametrize("method", ["rdoq", "ste", "sga"])
def test_gains(tiny_codec, picture, method) -> None:
    refined = refine(
        tiny_codec, picture(70, 90), 4.0, config=replace(QUICK, iters=30, method=method, lr_y=0.02), lmbda=LMBDA
    )
    assert gain_percent(refined) > 0.5
    assert not same(refined.latents, refined.plain)


@pytest.mark.parametrize("method", ["rdoq", "ste", "sga"])
def test_each_of_a_batch_keeps_its_own_best(tiny_codec, picture, method) -> None:
    x = torch.cat([picture(50, 64, seed=1), picture(50, 64, seed=2)])
    refined = refine(tiny_codec, x, 4.0, config=replace(QUICK, method=method), lmbda=LMBDA)
    assert bool((refined.cost_est.total <= refined.plain_cost_est.total).all())
    for i in range(2):
        alone = Latents(*(t[i : i + 1] for t in refined.latents))
        assert torch.allclose(refined.cost_est.total[i], price(tiny_codec, alone, x[i : i + 1]), rtol=1e-5)


@pytest.mark.parametrize("method", ["ste", "rdoq", "sga", "linear3"])
def test_a_batch_ends_where_each_image_alone_ends(tiny_codec, picture, method) -> None:
    x = torch.cat([picture(50, 64, seed=1), picture(50, 64, seed=2)])
    config = replace(QUICK, method=method)
    together = refine(tiny_codec, x, 4.0, config=config, lmbda=LMBDA).cost_est.total
    alone = torch.cat([refine(tiny_codec, one[None], 4.0, config=config, lmbda=LMBDA).cost_est.total for one in x])
    assert torch.allclose(together, alone, rtol=0.01)


@pytest.mark.parametrize(
    "config", [RefineConfig(iters=8), QUICK, replace(QUICK, tail=0.25)], ids=["rdoq", "sga", "tail"]
)
def test_the_cost_of_every_step_can_be_observed(tiny_codec, picture, config: RefineConfig) -> None:
    seen = list[tuple[int, Tensor]]()
    x = torch.cat([picture(50, 64, seed=1), picture(50, 64, seed=2)])
    refined = refine(
        tiny_codec, x, 4.0, config=config, lmbda=LMBDA, observe=lambda step, cost: seen.append((step, cost))
    )
    assert [step for step, _ in seen] == list(range(1, 9))
    costs = torch.stack([cost for _, cost in seen])  # (8, B)
    assert costs.shape == (8, 2) and not costs.requires_grad
    if config.method == "rdoq":  # true costs, the best of which is what is kept
        least = torch.minimum(costs.min(0).values, refined.plain_cost_est.total)
        assert torch.allclose(least, refined.cost_est.total, rtol=1e-5)
    unobserved = refine(tiny_codec, x, 4.0, config=config, lmbda=LMBDA)
    assert same(unobserved.latents, refined.latents)


def test_keep_better_chooses_for_each_image() -> None:
    def best(value: float, *totals: float) -> Best:
        total = torch.tensor(totals)
        latents = Latents(torch.full((3, 2, 4, 4), value), torch.full((3, 1, 1, 1), value))
        return Best(latents, Cost(total, total, total))

    kept = keep_better(best(1.0, 5.0, 5.0, 5.0), *best(2.0, 4.0, 6.0, float("nan")))
    assert kept.latents.y[:, 0, 0, 0].tolist() == kept.latents.z[:, 0, 0, 0].tolist() == [2.0, 1.0, 1.0]
    assert kept.cost.total.tolist() == kept.cost.distortion.tolist() == [4.0, 5.0, 5.0]


def test_same_seed_same_latents(tiny_codec, picture) -> None:
    first, again, other = (
        refine(tiny_codec, picture(64, 64), 4.0, config=replace(QUICK, method="sga", seed=s), lmbda=LMBDA)
        for s in (7, 7, 8)
    )
    assert same(first.latents, again.latents) and not same(first.latents, other.latents)


def test_progress_hears_of_every_step_once(tiny_codec, picture) -> None:
    steps: list[int] = []
    refine(tiny_codec, picture(20, 20), 4.0, config=replace(QUICK, iters=5), lmbda=LMBDA, progress=steps.append)
    assert steps == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("budget", "most"), [(0.3, 1000), (1e-9, 0)])
def test_time_budget_stops_early(tiny_codec, picture, budget: float, most: int) -> None:
    begin = time.monotonic()
    refined = refine(
        tiny_codec, picture(32, 32), 4.0, config=replace(QUICK, iters=100_000, time_budget=budget), lmbda=LMBDA
    )
    assert refined.iters <= most and time.monotonic() - begin < 10  # it would take an hour
    assert 0 < refined.seconds <= time.monotonic() - begin
    assert float(refined.cost_est.total) <= float(refined.plain_cost_est.total)


@pytest.mark.parametrize(("patience", "steps"), [(0, 20), (1, 10), (3, 12)])
def test_patience_counts_looks_without_a_gain(tiny_codec, picture, patience: int, steps: int) -> None:
    still = RefineConfig(iters=20, method="sga", lr_y=1e-12, lr_z=1e-12, patience=patience)  # nothing ever moves
    assert refine(tiny_codec, picture(20, 20), 4.0, config=still, lmbda=LMBDA).iters == steps


def test_looks_lie_in_the_second_half() -> None:
    assert check_times(4) == [0.5, 0.625, 0.75, 0.875]


@pytest.mark.parametrize("method", ["sga", "rdoq"])
def test_a_time_budget_has_looks_and_patience_too(tiny_codec, picture, method) -> None:
    still = RefineConfig(
        iters=10**6, method=method, lr_y=1e-12, lr_z=1e-12, temperature_bits=0.0, patience=1, time_budget=3.0,
        move_fraction_start=1e-9, move_fraction_end=1e-9,
    )  # fmt: skip
    begin = time.monotonic()
    refine(tiny_codec, picture(20, 20), 4.0, config=still, lmbda=LMBDA)
    assert time.monotonic() - begin < 2.9, "it ran on to the end of its time, though nothing moved"


def test_a_time_budget_holds_before_the_first_step_and_in_the_tail(tiny_codec, picture) -> None:
    begin = time.monotonic()
    moment = RefineConfig(iters=10**6, time_budget=1e-6)
    assert refine(tiny_codec, picture(64, 64), 4.0, config=moment, lmbda=LMBDA).iters == 0
    tailed = RefineConfig(iters=10**6, method="sga", tail=0.5, time_budget=0.3)
    refine(tiny_codec, picture(20, 20), 4.0, config=tailed, lmbda=LMBDA)
    assert time.monotonic() - begin < 5


def test_the_papers_rate_falls_by_a_constant_factor(tiny_codec, picture, monkeypatch) -> None:
    rates: list[list[float]] = []
    honest = torch.optim.Adam.step

    def step(optimiser: torch.optim.Adam, *args: object) -> object:
        rates.append([group["lr"] for group in optimiser.param_groups])
        return honest(optimiser, *args)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    gamma = 0.6
    paper = RefineConfig(iters=26, method="ste", lr_y=0.06, lr_z=0.03, lr_end=gamma**26, lr_fall="geometric")
    refine(tiny_codec, picture(20, 20), 4.0, config=paper, lmbda=LMBDA)
    assert rates == [pytest.approx([0.06 * gamma**n, 0.03 * gamma**n]) for n in range(26)]


def test_the_codec_is_left_as_it_was(tiny_codec, picture) -> None:
    before = {k: v.clone() for k, v in tiny_codec.state_dict().items()}
    refine(tiny_codec, picture(20, 20), 4.0, config=QUICK, lmbda=LMBDA)
    assert all(p.grad is None and not p.requires_grad for p in tiny_codec.parameters())
    assert all(torch.equal(v, before[k]) for k, v in tiny_codec.state_dict().items())


def test_a_broken_picture_stays_plain_and_leaves_its_neighbour_alone(tiny_codec, picture) -> None:
    x = torch.cat([torch.full((1, 3, 50, 64), float("nan")), picture(50, 64)])
    refined = refine(tiny_codec, x, 4.0, config=QUICK, lmbda=LMBDA)
    for kept, plain in zip(refined.latents, refined.plain, strict=True):
        assert torch.equal(kept[0].isnan(), plain[0].isnan())
        assert torch.equal(kept[0].nan_to_num(), plain[0].nan_to_num())
        assert bool(kept[1].isfinite().all())
    assert bool(refined.cost_est.total[0].isnan())
    assert float(refined.cost_est.total[1]) < float(refined.plain_cost_est.total[1])


@pytest.mark.parametrize("quality", [0.5, 8.5, float("nan")])
def test_quality_out_of_range(tiny_codec, picture, quality: float) -> None:
    with pytest.raises(ConfigError, match=r"quality .*between 1 .*8"):
        refine(tiny_codec, picture(20, 20), quality, config=QUICK)


@pytest.mark.parametrize(
    "bad",
    [
        {"iters": -1}, {"checks": 0}, {"patience": -1}, {"lr_y": 0.0}, {"lr_z": -1e-3}, {"lr_end": 0.0},
        {"temperature_bits": -1.0}, {"move_fraction_start": 0.0}, {"move_fraction_end": 1.1},
        {"ste_tail": 2.0}, {"tail": -0.1}, {"tail": 1.0},
        {"temperature_start": 0.0}, {"temperature_end": -0.1}, {"beta1": 1.0}, {"beta2": -0.1}, {"time_budget": 0.0},
        {"memory_gib": 0.0}, {"strip_pixels": 0}, {"temperature_bits": math.nan},
        {"time_budget": math.inf}, {"seed": -1}, {"seed": 2**63}, {"lr_fall": "linear"},
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"^{next(iter(bad))} .*must"):
        RefineConfig(**bad)


def test_a_method_that_does_not_exist_is_told_its_nearest() -> None:
    with pytest.raises(ValueError, match=r"^method: unknown value 'sgaa'; did you mean 'sga'"):
        RefineConfig(method="sgaa")


def test_a_tail_of_search_adds_to_a_descent(tiny_codec, picture) -> None:
    steps: list[int] = []
    short = refine(tiny_codec, picture(70, 90), 4.0, config=QUICK, lmbda=LMBDA)
    longer = refine(
        tiny_codec,
        picture(70, 90),
        4.0,
        config=replace(QUICK, iters=12, tail=1 / 3),
        lmbda=LMBDA,
        progress=steps.append,
    )
    assert steps == list(range(1, 13)) and longer.iters == 12
    assert gain_percent(longer) > gain_percent(short)


def test_a_straight_through_tail_is_straight_through(tiny_codec, picture) -> None:
    ste = refine(tiny_codec, picture(40, 40), 4.0, config=replace(QUICK, method="ste"), lmbda=LMBDA)
    all_tail = refine(
        tiny_codec, picture(40, 40), 4.0, config=replace(QUICK, method="noise", ste_tail=1.0), lmbda=LMBDA
    )
    assert same(ste.latents, all_tail.latents)


def test_the_package_offers_the_function_not_the_module() -> None:
    assert callable(rdo.refine) and rdo.refine is refine
