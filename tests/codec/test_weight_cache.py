"""Cache by weights: cached results equal computed ones, through every way that weights change."""

import gc
import weakref
from collections.abc import Callable

import pytest
import torch

from codec.architecture import ModelConfig
from codec.bitstream.rounding import in_double
from codec.identity import model_id
from codec.model import Codec
from codec.weight_cache import cached_by_weights


def head_weight(codec: Codec) -> torch.Tensor:
    return codec.context.head.out.weight


def replaced(codec: Codec) -> None:
    codec.context.head.out.weight = torch.nn.Parameter(head_weight(codec) + 1, requires_grad=False)


def rounded(codec: Codec) -> None:
    codec.half().float()


def reloaded(codec: Codec) -> None:
    codec.load_state_dict({k: t * 2 for k, t in codec.state_dict().items()})


CHANGES: dict[str, Callable[[Codec], object]] = {
    "in place": lambda c: head_weight(c).add_(1),
    "one element through state_dict": lambda c: c.state_dict()["log_gain.table"].view(-1)[3:4].add_(1),
    "a buffer": lambda c: c.prior.rows.add_(1),
    "replaced": replaced,
    "rounded": rounded,
    "reloaded": reloaded,
    "a submodule": lambda c: setattr(c.context, "norm", torch.nn.LayerNorm(16).requires_grad_(False)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_weights_is_seen(make_codec: Callable[..., Codec], change: str) -> None:
    codec = make_codec()
    before, doubled = model_id(codec), in_double(codec)
    assert in_double(codec) is doubled
    CHANGES[change](codec)
    assert in_double(codec) is not doubled
    now = dict(codec.named_parameters())
    assert all(torch.equal(now[name].to(p), p) for name, p in in_double(codec).named_parameters())
    assert model_id(codec) != before


def test_a_change_of_configuration_is_seen(
    make_codec: Callable[..., Codec], tiny_config: Callable[..., ModelConfig]
) -> None:
    codec = make_codec()
    before = model_id(codec)
    codec.config = tiny_config(order="cfo")
    assert model_id(codec) != before


def test_nothing_is_kept_of_a_codec_in_training(make_codec: Callable[..., Codec]) -> None:
    codec = make_codec().requires_grad_(True)
    assert in_double(codec) is not in_double(codec)


def test_results_are_computed_once_and_go_with_their_codec(make_codec: Callable[..., Codec]) -> None:
    calls = []
    count = cached_by_weights(lambda codec: calls.append(codec.config.name))
    a, b = make_codec(), make_codec()
    for codec in (a, a, b, a, b):
        count(codec)
    assert len(calls) == 2
    doubled = weakref.ref(in_double(a))
    del a, codec
    gc.collect()
    assert doubled() is None


def test_the_double_copy_holds_what_the_entropy_coder_needs_and_no_more(tiny_codec: Codec) -> None:
    doubled = in_double(tiny_codec)
    names = {name.partition(".")[0] for name, _ in doubled.named_parameters()}
    assert names == {"h_s", "context", "context_rate", "prior", "log_gain"}
    assert {p.dtype for p in doubled.parameters()} == {torch.float64}
    assert {p.dtype for p in tiny_codec.parameters()} == {torch.float32}
