"""The context model's three ways to the same mixtures, and who may know what."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from codec.architecture import ModelConfig, Order
from codec.networks.context import ContextModel, Mixture

SIZES = [(4, 4), (5, 6), (9, 2), (12, 16), (1, 2), (8, 8)]
CASES = [
    pytest.param(
        size, order, skip, mixtures, id=f"{size[0]}x{size[1]}-{order}-{'skip' if skip else 'start'}-k{mixtures}"
    )
    for size in SIZES
    for order in ("sfo", "cfo")
    for skip in (True, False)
    for mixtures in (1, 3)
]


def random_model(config: ModelConfig) -> ContextModel:
    """Weights large enough that the context moves every parameter."""
    torch.manual_seed(5)
    model = ContextModel(config).requires_grad_(False).eval()
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def random_inputs(config: ModelConfig, height: int, width: int, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, hyper-features and rate bias."""
    tokens = torch.randn(batch, 2 * config.segments, height, width // 2, config.segment_width) * 2
    features = torch.randn(batch, config.hyper_features, height, width)
    return tokens, features, torch.randn(batch, config.context_width)


def stepwise(model: ContextModel, tokens: Tensor, features: Tensor, rate_bias: Tensor) -> Mixture:
    """All groups by the decoder's way."""
    state = model.start(features, rate_bias)
    steps = []
    for group in range(tokens.shape[1]):
        assert state.group == group
        steps.append(model.mixture(state))
        state = model.step(state, tokens[:, group : group + 1], rate_bias)
    return Mixture(*(torch.cat(parts, 1) for parts in zip(*steps, strict=True)))


@pytest.mark.parametrize(("size", "order", "skip_first", "mixtures"), CASES)
def test_the_three_ways_agree(
    tiny_config: Callable[..., ModelConfig], size: tuple[int, int], order: Order, skip_first: bool, mixtures: int
) -> None:
    config = tiny_config(order=order, skip_first=skip_first, mixtures=mixtures)
    model, inputs = random_model(config), random_inputs(config, *size)
    uncached = random_model(replace(config, cached=False))
    masked = model.masked(*inputs)
    shape = (2, 8, size[0], size[1] // 2, mixtures, config.segment_width)
    for way in (model, uncached):
        for a, b in zip(masked, stepwise(way, *inputs), strict=True):
            assert a.shape == b.shape == shape
            torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("size", "order", "skip_first", "mixtures"), [c for c in CASES if c.values[3] == 3])
def test_a_group_alters_later_groups_only(
    tiny_config: Callable[..., ModelConfig], size: tuple[int, int], order: Order, skip_first: bool, mixtures: int
) -> None:
    config = tiny_config(order=order, skip_first=skip_first, mixtures=mixtures)
    model = random_model(config)
    tokens, features, rate_bias = random_inputs(config, *size, batch=1)
    groups = tokens.shape[1]
    batch = tokens.repeat(groups + 1, 1, 1, 1, 1)  # the last is left alone, of entry n group n is changed
    for group in range(groups):
        batch[group, group] = torch.randn_like(batch[group, group]) * 3
    mixture = model.masked(batch, features.expand(groups + 1, -1, -1, -1), rate_bias.expand(groups + 1, -1))
    for parameter in mixture:
        change = (parameter[:-1] - parameter[-1:]).abs().amax((2, 3, 4, 5))  # (changed group, group)
        assert float(change.tril().max()) < 1e-5, "a group's parameters depend on itself or on a later group"
        assert bool((change.diagonal(1) > 1e-3).all()), "the next group does not notice"


def test_every_earlier_group_is_heard(tiny_config: Callable[..., ModelConfig]) -> None:
    config = tiny_config()
    model = random_model(config)
    tokens, features, rate_bias = random_inputs(config, 8, 8, batch=1)
    last = model.masked(tokens, features, rate_bias).means[:, -1]
    for group in range(tokens.shape[1] - 1):
        changed = tokens.clone()
        changed[:, group] += 1
        assert float((model.masked(changed, features, rate_bias).means[:, -1] - last).abs().max()) > 1e-4


@pytest.mark.parametrize("skip_first", [True, False])
def test_features_reach_the_group_at_their_own_place_only(
    tiny_config: Callable[..., ModelConfig], skip_first: bool
) -> None:
    config = tiny_config(skip_first=skip_first)
    model = random_model(config)
    tokens, features, rate_bias = random_inputs(config, 6, 8, batch=1)
    changed = features.clone()
    changed[:, :, 3, 4] += 1  # row + column odd: colour B, squeezed column 2
    before, after = model.masked(tokens, features, rate_bias), model.masked(tokens, changed, rate_bias)
    moved = (after.means - before.means).abs().amax((0, 4, 5)) > 0  # (G, H, W/2)
    expected = torch.zeros_like(moved)
    expected[1::2, 3, 2] = True  # sfo: every second group is colour B
    assert torch.equal(moved, expected)
