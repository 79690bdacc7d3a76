"""The paper's baselines: each decodes what it wrote, and computes what its definition says, position by position."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from codec.architecture import ModelConfig, Order, latent_shapes
from codec.coding import read, write
from codec.interface import Latents
from codec.model import Codec
from codec.networks.attention import MASKED, Bias
from codec.networks.baselines import SerialContext, SlidingContext, make_context
from codec.networks.context import ContextModel, Mixture

SERIAL: dict[str, Any] = {"context": "contextformer", "cached": False, "skip_first": False, "window": 8}
SLIDING: dict[str, Any] = {"context": "pcontextformer", "cached": False, "window": 8}
SWITCHES: list[dict[str, Any]] = [
    {"rearranged": r, "cached": c, "skip_first": s} for r in (True, False) for c in (True, False) for s in (True, False)
]
STRIDES: list[dict[str, Any]] = [{**SLIDING, "stride": stride} for stride in (8, 4, 2, 1)]


def random_context(config: ModelConfig) -> ContextModel:
    torch.manual_seed(5)
    model = make_context(config).requires_grad_(False).eval()
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def random_inputs(config: ModelConfig, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """y, hyper-features and rate bias, of a batch of two."""
    y = torch.randn(2, config.latent, height, width) * 2
    return y, torch.randn(2, config.hyper_features, height, width), torch.randn(2, config.context_width)


def stepwise(model: ContextModel, tokens: Tensor, features: Tensor, rate_bias: Tensor) -> Mixture:
    state = model.start(features, rate_bias)
    steps = []
    for group in range(tokens.shape[1]):
        steps.append(model.mixture(state))
        state = model.step(state, tokens[:, group : group + 1], rate_bias)
    return Mixture(*(torch.cat(parts, 1) for parts in zip(*steps, strict=True)))


@pytest.mark.parametrize("order", ["sfo", "cfo"])
@pytest.mark.parametrize("changes", [*SWITCHES, *STRIDES, SERIAL], ids=str)
def test_the_same_symbols_come_out_as_went_in(
    make_codec: Callable[..., Codec], changes: dict[str, Any], order: Order
) -> None:
    codec = make_codec(order=order, **changes)
    torch.manual_seed(1)
    y, z = (torch.randn(shape).mul(3).round() for shape in latent_shapes(codec.config, 64, 64))
    latents = read(codec, write(codec, Latents(y, z), width=64, height=64, quality=4.0, grey=False))[1]
    assert torch.equal(latents.y, y) and torch.equal(latents.z, z)


@pytest.mark.parametrize("order", ["sfo", "cfo"])
@pytest.mark.parametrize("size", [(5, 6), (4, 4), (1, 2)])
@pytest.mark.parametrize("changes", [*SWITCHES, *STRIDES, SERIAL], ids=str)
def test_one_pass_is_what_the_steps_give(
    tiny_config: Callable[..., ModelConfig], changes: dict[str, Any], order: Order, size: tuple[int, int]
) -> None:
    config = tiny_config(order=order, **changes)
    model = random_context(config)
    y, features, rate_bias = random_inputs(config, *size)
    tokens = model.tokens(y)
    assert torch.equal(model.latents(tokens, *size), y)
    assert tokens.shape[1] == len(model.step_segments(*size))
    at_once = model.masked(tokens, features, rate_bias)
    for a, b in zip(at_once, stepwise(model, tokens, features, rate_bias), strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=0)


@pytest.mark.parametrize("changes", [*SWITCHES, *STRIDES, SERIAL], ids=str)
def test_the_hyperprior_alone_is_a_context_that_says_nothing(
    tiny_config: Callable[..., ModelConfig], changes: dict[str, Any]
) -> None:
    model = random_context(tiny_config(**changes))
    y, features, rate_bias = random_inputs(model.config, 4, 6)
    alone, informed = model.without_context(features), model.masked(model.tokens(y), features, rate_bias)
    assert not torch.equal(alone.means[:, 1:], informed.means[:, 1:])
    model.head.context.weight.zero_()
    model.head.context.bias.zero_()
    for a, b in zip(model.without_context(features), model.masked(model.tokens(y), features, rate_bias), strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


@pytest.mark.parametrize("order", ["sfo", "cfo"])
@pytest.mark.parametrize("skip_first", [True, False])
def test_rearrangement_changes_what_is_executed_and_nothing_else(
    tiny_config: Callable[..., ModelConfig], order: Order, skip_first: bool
) -> None:
    config = tiny_config(order=order, skip_first=skip_first)
    squeezed, whole = random_context(config), random_context(replace(config, rearranged=False))
    y, features, rate_bias = random_inputs(config, 5, 6)
    ways = [model.masked(model.tokens(y), features, rate_bias) for model in (squeezed, whole)]
    for a, b in zip(*ways, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


@pytest.mark.parametrize("order", ["sfo", "cfo"])
def test_a_serial_token_alters_the_later_ones_of_its_window_only(
    tiny_config: Callable[..., ModelConfig], order: Order
) -> None:
    """Against the definition, token by token: coded later, and within half a window of rows and columns."""
    height, width, half = 6, 7, 2
    config = tiny_config(**{**SERIAL, "window": 2 * half, "segments": 2, "order": order})
    model = random_context(config)
    y, features, rate_bias = (t[:1] for t in random_inputs(config, height, width))
    key = {"sfo": lambda s, r, c: (s, c, r), "cfo": lambda s, r, c: (c, r, s)}[order]
    places = [(s, r, c) for s in range(2) for r in range(height) for c in range(width)]
    places.sort(key=lambda place: key(*place))
    before = model.masked(model.tokens(y), features, rate_bias).means
    for source in (0, 9, 40, len(places) - 1):
        s, r, c = places[source]
        changed = y.clone()
        changed[:, s * 8 : (s + 1) * 8, r, c] += 3
        moved = model.masked(model.tokens(changed), features, rate_bias).means - before
        altered = moved.abs().amax((0, 2, 3, 4, 5)) > 1e-6
        for target, (_, row, column) in enumerate(places):
            near = -half <= r - row < half and 0 <= column - c < half
            assert bool(altered[target]) == (target > source and near), (places[source], places[target])


def test_a_serial_window_is_the_naive_sequence(tiny_config: Callable[..., ModelConfig]) -> None:
    """One token's context, from the sequence of its window's tokens in coding order and plain causal attention."""
    config = tiny_config(**SERIAL)
    model = random_context(config)
    assert isinstance(model, SerialContext)
    y, features, rate_bias = (t[:1] for t in random_inputs(config, 9, 6))
    segment, row, column = 2, 5, 4
    x = model._embedded(y.unflatten(1, (4, -1)).movedim(2, -1), rate_bias)[0]  # (S, H + 7, W + 3, d)
    places = [(s, r, c) for s in range(4) for c in range(4) for r in range(8)]  # sfo, down the columns
    known = places[: places.index((segment, 4, 3))]
    sequence = torch.stack([x[s, row + r, column + c] for s, r, c in known])
    numbers = torch.arange(4 * 8 * 4).unflatten(0, (4, 8, 4))
    own = torch.stack([numbers[place] for place in known])
    for block in model.blocks:
        projected = block.qkv(block.norm_attention(sequence)).unflatten(-1, (3, block.heads, -1))
        query, key, value = projected.permute(1, 2, 0, 3)
        scores = query @ key.mT * query.shape[-1] ** -0.5 + block.relative.learned(128)[:, own][:, :, own]
        scores = scores + torch.full(scores.shape[1:], MASKED).triu(1)
        sequence = sequence + block.project((scores.softmax(-1) @ value).transpose(0, 1).flatten(1))
        sequence = sequence + block.mlp(block.norm_mlp(sequence))
    context = model.norm(sequence[-1])[None, None, None, None]
    expected = model.head(features[:, None, None, None, :, row, column], context, [segment])
    mixture = model.masked(model.tokens(y), features, rate_bias)
    at = (segment * 6 + column) * 9 + row
    for a, b in zip(mixture, expected, strict=True):
        torch.testing.assert_close(a[:, at : at + 1], b, atol=1e-5, rtol=0)


@pytest.mark.parametrize("stride", [8, 4, 2, 1])
def test_a_sliding_window_is_cut_out_and_attended_alone(tiny_config: Callable[..., ModelConfig], stride: int) -> None:
    config = tiny_config(**{**SLIDING, "stride": stride})
    model = random_context(config)
    assert isinstance(model, SlidingContext)
    height, wide, across = 11, 9, max(1, stride // 2)
    x = torch.randn(2, 7, height, wide, config.context_width)
    biases = model._biases(x)
    out = model._run_blocks(x, biases)
    assert out.shape == x.shape
    for row, column in ((0, 0), (5, 4), (10, 8), (7, 2)):
        top = row // stride * stride - (8 - stride) // 2  # of the window whose middle patch holds the position
        left = column // across * across - (4 - across) // 2
        window = torch.zeros(2, 7, 8, 4, config.context_width)
        for r in range(8):
            for c in range(4):
                if 0 <= top + r < height and 0 <= left + c < wide:
                    window[:, :, r, c] = x[:, :, top + r, left + c]
        for block in model.blocks:
            window = block(window, Bias(block.relative(7 * 32)))
        torch.testing.assert_close(out[:, :, row, column], window[:, :, row - top, column - left], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"context": "contextformer", "skip_first": False}, "contextformer has no switches"),
        ({**SLIDING, "rearranged": False}, "pcontextformer has no switches"),
        ({**SERIAL, "skip_first": True}, "no first group to skip"),
        ({**SLIDING, "stride": 9}, "stride 9 must lie between 1 and window 8"),
    ],
)
def test_a_baseline_that_cannot_be_is_refused(
    tiny_config: Callable[..., ModelConfig], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_config(**changes)
