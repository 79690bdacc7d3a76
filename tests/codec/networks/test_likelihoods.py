"""Likelihoods against the textbook's formulas in double precision."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from codec.model import Codec
from codec.networks.context import Mixture
from codec.networks.likelihoods import (
    LOG2_SCALE_MAX,
    LOG2_SCALE_MIN,
    PROBABILITY_MIN,
    Z_REACH,
    FactorisedPrior,
    StepMixture,
    in_steps,
    mixture_bits,
)


def random_mixture(*shape: int, smallest: float = 0.1, largest: float = 20.0) -> StepMixture:
    """Parameters (*shape[:-1], 3, shape[-1])."""
    full = (*shape[:-1], 3, shape[-1])
    log_scales = torch.empty(full).uniform_(0, 1) * torch.log(torch.tensor(largest / smallest))
    return StepMixture(torch.randn(full).softmax(-2), torch.randn(full) * 3, smallest * log_scales.exp())


def likelihood(y: Tensor, mixture: StepMixture) -> Tensor:
    """Probability of y's unit interval, in float64."""
    weights, means, scales = (t.double() for t in mixture)
    normal, y = Normal(means, scales), y.double().unsqueeze(-2)
    return (weights * (normal.cdf(y + 0.5) - normal.cdf(y - 0.5))).sum(-2)


@pytest.mark.parametrize("on_integers", [True, False])
def test_bits_are_those_of_the_formula(on_integers: bool) -> None:
    mixture = random_mixture(2, 3, 5, 4)
    y = torch.randn(2, 3, 5, 4) * 4
    y = y.round() if on_integers else y
    expected = -likelihood(y, mixture).clamp(min=PROBABILITY_MIN).log2()
    near = expected < 18  # fp32 erfc leaves about 2^-26 of a cdf near one
    assert int(near.sum()) > 60
    torch.testing.assert_close(mixture_bits(y, mixture)[near].double(), expected[near], atol=2e-2, rtol=0)
    ordinary = expected < 10
    torch.testing.assert_close(mixture_bits(y, mixture)[ordinary].double(), expected[ordinary], atol=1e-3, rtol=0)


def test_both_tails_are_equally_exact() -> None:
    mixture = StepMixture(torch.ones(1, 1), torch.zeros(1, 1), torch.ones(1, 1))
    y = torch.arange(0.0, 6.0)[:, None]
    torch.testing.assert_close(mixture_bits(y, mixture), mixture_bits(-y, mixture), atol=0, rtol=0)
    expected = -likelihood(y, mixture).clamp(min=PROBABILITY_MIN).log2()
    torch.testing.assert_close(mixture_bits(y, mixture).double(), expected, atol=1e-3, rtol=0)


def test_probabilities_of_all_integers_sum_to_one() -> None:
    mixture = random_mixture(64, 4, smallest=0.3, largest=12)
    integers = torch.arange(-120.0, 121.0)[:, None, None].expand(-1, 64, 4)
    total = (2.0 ** -mixture_bits(integers, StepMixture(*(t[None] for t in mixture)))).sum(0)
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-3, rtol=0)


def test_bits_never_exceed_the_floor_and_their_gradient_is_finite() -> None:
    raw = [t.requires_grad_() for t in (torch.randn(9, 3, 2) * 30, torch.randn(9, 3, 2), torch.randn(9, 3, 2) * 60)]
    y = torch.tensor([0, 0.5, -1, 3, -40, 1e3, -1e5, 1e7, -1e9])[:, None].repeat(1, 2).requires_grad_()
    bits = mixture_bits(y, in_steps(Mixture(*raw), torch.full((9, 1, 2), 3.0)))
    assert bool((bits >= -1e-6).all()) and float(bits.detach().max()) == 22
    bits.sum().backward()
    for tensor in (y, *raw):
        assert tensor.grad is not None and bool(tensor.grad.isfinite().all())
        assert bool(tensor.grad.any())


def test_in_steps_multiplies_by_gains() -> None:
    raw = Mixture(*(torch.randn(2, 4, 3, 5, 3, 2) for _ in range(3)))
    gains = torch.rand(2, 4, 1, 1, 1, 2) + 0.5
    weights, means, scales = in_steps(raw, gains)
    torch.testing.assert_close(weights.sum(-2), torch.ones(2, 4, 3, 5, 2))
    torch.testing.assert_close(weights, torch.softmax(raw.logits, dim=4))
    torch.testing.assert_close(means, raw.means * gains)
    torch.testing.assert_close(scales, (raw.log_scales.exp() * gains).clamp(2.0**LOG2_SCALE_MIN, 2.0**LOG2_SCALE_MAX))


@pytest.mark.parametrize("log_scale", [-60.0, 60.0])
def test_scales_stay_within_those_of_the_tables_and_can_return(log_scale: float) -> None:
    raw = Mixture(torch.zeros(1, 1, 4), torch.zeros(1, 1, 4), torch.full((1, 1, 4), log_scale, requires_grad=True))
    mixture = in_steps(raw, torch.tensor([0.5, 1.0, 8.0, 100.0]))
    limit = LOG2_SCALE_MIN if log_scale < 0 else LOG2_SCALE_MAX
    torch.testing.assert_close(mixture.scales, torch.full_like(mixture.scales, 2.0**limit))
    y = torch.full((1, 4), 300.0 if log_scale < 0 else 0.0)
    mixture_bits(y, mixture).sum().backward()
    assert raw.log_scales.grad is not None
    if log_scale > 0:  # descent narrows it
        assert bool((raw.log_scales.grad > 0.5).all())
    assert bool(raw.log_scales.grad.isfinite().all())


@pytest.fixture
def prior(make_codec: Callable[..., Codec]) -> FactorisedPrior:
    """Of a codec's own: eight channels, each a little different, narrow enough for p(z) to fade before the escape."""
    prior = make_codec(seed=4).prior
    for matrix in prior.matrices:
        matrix.add_(0.6)
    prior.freeze()
    return prior


def test_prior_bits_are_those_of_its_distribution_at_each_place(prior: FactorisedPrior) -> None:
    z = (torch.randn(3, 8, 2, 5) * 3).round()
    bits = prior.bits(z)
    assert bits.shape == z.shape
    with torch.no_grad():
        for b, c, row, col in ((0, 0, 0, 0), (2, 5, 1, 3), (1, 7, 0, 4)):
            edges = z[b, c, row, col] + torch.tensor([-0.5, 0.5])
            below, upto = prior.cdf_logits(edges.expand(8, 1, 2))[c, 0].double().sigmoid()
            expected = -(upto - below).clamp(min=PROBABILITY_MIN).log2()
            torch.testing.assert_close(bits[b, c, row, col].double(), expected, atol=1e-3, rtol=0)
    assert bits[0, 0, 0, 0] != prior.bits(z.flip(1))[0, -1, 0, 0] or z[0, 0, 0, 0] != 0  # channels differ


def test_prior_equals_compressai_to_the_bit(prior: FactorisedPrior) -> None:
    models = pytest.importorskip("compressai.entropy_models", reason="needs CompressAI")
    torch.manual_seed(3)
    theirs = models.EntropyBottleneck(8)
    torch.manual_seed(3)
    ours = FactorisedPrior(8)
    assert set(ours.state_dict()) - {"rows"} == set(theirs.state_dict())
    for name, tensor in theirs.state_dict().items():
        assert tensor.dtype == ours.state_dict()[name].dtype and torch.equal(tensor, ours.state_dict()[name]), name
    for state in (ours.state_dict(), prior.state_dict()):
        ours.load_state_dict(state)
        theirs.load_state_dict({name: tensor for name, tensor in state.items() if name != "rows"})
        gradients = []
        for model, likelihood in ((ours, ours.likelihood), (theirs, lambda z: theirs._likelihood(z)[0])):
            model.zero_grad()
            z = torch.linspace(-40, 40, 333).expand(8, 1, -1).clone().requires_grad_()
            p = likelihood(z)
            (p * torch.linspace(-1, 2, 333)).sum().backward()
            gradients.append([p, z.grad, *(q.grad for n, q in model.named_parameters() if n != "quantiles")])
        assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True)) and len(gradients[0]) == 16
        z = (torch.randn(3, 8, 2, 5) * 3).round()
        _, expected = theirs.eval()(z)  # rounds to integers: medians are 0
        torch.testing.assert_close(ours.bits(z), -expected.log2(), atol=1e-3, rtol=0)


def test_prior_distribution_increases_from_zero_to_one(prior: FactorisedPrior) -> None:
    values = torch.linspace(-400, 400, 999).expand(8, 1, -1)
    with torch.no_grad():
        cdf = prior.cdf_logits(values).double().sigmoid()
    assert bool((cdf.diff() >= 0).all())
    torch.testing.assert_close(cdf[..., [0, -1]], torch.tensor([0.0, 1.0], dtype=torch.float64).expand(8, 1, 2))


def test_prior_probabilities_sum_to_one(prior: FactorisedPrior) -> None:
    z = torch.arange(-400.0, 401.0)[None, None, None].expand(1, 8, 1, -1)
    total = (2.0 ** -prior.bits(z)).sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-3, rtol=0)


def test_prior_rows_are_its_probabilities(prior: FactorisedPrior) -> None:
    rows = prior.rows
    assert rows.dtype == torch.int32 and rows.shape == (8, 2 * Z_REACH + 2)
    assert int(rows.min()) >= 1
    assert bool((rows.sum(1) - 2**22 - rows.shape[1]).abs().le(rows.shape[1]).all())
    z = torch.arange(-Z_REACH, Z_REACH + 1.0)[None, None].expand(1, 8, -1)[..., None]
    inside = 2.0 ** -prior.bits(z).squeeze(0).squeeze(-1)
    torch.testing.assert_close(rows[:, :-1] / 2**22, inside, atol=1e-6, rtol=0)
    torch.testing.assert_close(rows[:, -1] / 2**22, (1 - inside.sum(1)).clamp(min=0), atol=1e-5, rtol=0)
    assert len({tuple(row.tolist()) for row in rows}) == 8


def test_prior_rows_are_zero_until_frozen() -> None:
    fresh = FactorisedPrior(2)
    assert not bool(fresh.rows.any())
    fresh.freeze()
    assert bool(fresh.rows.all())
    assert "rows" in fresh.state_dict()
