"""The layers against their formulas, and against CompressAI's to the bit where it is installed."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from codec.networks.layers import (
    GDN,
    PEDESTAL,
    AttentionBlock,
    LowerBound,
    NonNegative,
    ResidualBlock,
    limited,
    lower_bound,
)

OURS: dict[str, Callable[[], nn.Module]] = {
    "GDN": lambda: GDN(6),
    "GDN inverse": lambda: GDN(6, inverse=True),
    "ResidualBlock": lambda: ResidualBlock(6, 6),
    "ResidualBlock wider": lambda: ResidualBlock(6, 10),
    "AttentionBlock": lambda: AttentionBlock(6),
}


def theirs(name: str) -> nn.Module:
    """CompressAI's layer of the same name and sizes."""
    layers = pytest.importorskip("compressai.layers", reason="needs CompressAI")
    made: dict[str, Callable[[], nn.Module]] = {
        "GDN": lambda: layers.GDN(6),
        "GDN inverse": lambda: layers.GDN(6, inverse=True),
        "ResidualBlock": lambda: layers.ResidualBlock(6, 6),
        "ResidualBlock wider": lambda: layers.ResidualBlock(6, 10),
        "AttentionBlock": lambda: layers.AttentionBlock(6),
    }
    return made[name]()


def run(layer: nn.Module, x: Tensor, precision: torch.dtype | None) -> list[Tensor]:
    """Output, gradient of the input, and gradients of the parameters."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", dtype=precision or torch.bfloat16, enabled=precision is not None):
        out = layer(x)
    weight = torch.linspace(-1, 2, out.numel(), dtype=out.dtype).view_as(out)
    (out * weight).sum().backward()
    gradients = [p.grad for p in layer.parameters()]
    assert x.grad is not None and all(g is not None for g in gradients)
    return [out.detach(), x.grad, *(g for g in gradients if g is not None)]


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("precision", [None, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_equal_to_compressai_to_the_bit(name: str, precision: Any, layout: torch.memory_format) -> None:
    torch.manual_seed(5)
    reference = theirs(name)
    torch.manual_seed(5)
    layer = OURS[name]()
    assert list(layer.state_dict()) == list(reference.state_dict())
    for key, tensor in reference.state_dict().items():
        assert tensor.dtype == layer.state_dict()[key].dtype and torch.equal(tensor, layer.state_dict()[key]), key
    if name.startswith("GDN"):
        precision = None  # ours stays in single precision, see below
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)  # some below their bounds
        reference.load_state_dict(layer.state_dict())
    x = torch.randn(2, 6, 9, 12).contiguous(memory_format=layout) * 3
    found, expected = run(layer, x, precision), run(reference, x, precision)
    assert [t.dtype for t in found] == [t.dtype for t in expected]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_lower_bound_equals_compressai_to_the_bit() -> None:
    ops = pytest.importorskip("compressai.ops", reason="needs CompressAI")
    x = torch.tensor([0.4, 0.11, 0.1, -3.0, float("inf"), 1e-40]).repeat(2, 1)
    upstream = torch.tensor([[1.5], [-1.5]])
    found = []
    for bounded in (LowerBound(0.11), ops.LowerBound(0.11), lambda t: lower_bound(t, 0.11)):
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            t = x.to(dtype, copy=True).requires_grad_()
            out = bounded(t)
            (out * upstream).sum().backward()
            assert t.grad is not None
            found.append((out.dtype, out.tolist(), t.grad.tolist()))
    assert found[:3] == found[3:6] == found[6:]


@pytest.mark.parametrize(("x", "upstream", "expected"), [(2.0, 1.0, 1.0), (0.5, 1.0, 0.0), (0.5, -1.0, -1.0)])
@pytest.mark.parametrize("bounded", [LowerBound(1.0), lambda x: lower_bound(x, 1.0)], ids=["module", "function"])
def test_lower_bound_lets_through_what_would_lift_x(bounded: Any, x: float, upstream: float, expected: float) -> None:
    tensor = torch.tensor([x], requires_grad=True)
    out = bounded(tensor)
    assert out.item() == max(x, 1.0)
    (out * upstream).sum().backward()
    assert tensor.grad is not None and tensor.grad.item() == expected


@pytest.mark.parametrize("limit", [0.25, torch.tensor([[0.25], [0.25]])], ids=["float", "tensor"])
def test_limits_are_the_identity_within_and_bring_back_from_beyond(limit: float | torch.Tensor) -> None:
    values = torch.tensor([0.1, -0.25, 0.25, 0.3, -7.0, float("nan")]).repeat(2, 1)
    upstream = torch.tensor([[1.0], [-1.0]])
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x = values.to(dtype, copy=True).requires_grad_()
        out = limited(x, limit)
        (out * upstream).sum().backward()
        assert out.dtype == dtype and torch.equal(out[:, :3], x[:, :3]), "to the bit"
        assert out[:, 3].tolist() == [0.25] * 2 and out[:, 4].tolist() == [-0.25] * 2 and out[:, 5].isnan().all()
        assert x.grad is not None and x.grad[0, :5].tolist() == [1, 1, 1, 1, 0]
        assert x.grad[1, :5].tolist() == [-1, -1, -1, 0, -1]


def test_bounds_are_single_precision_for_doubles_too() -> None:
    at = lower_bound(torch.zeros(1, dtype=torch.float64), 0.1)
    assert at.dtype == torch.float64 and at.item() == torch.tensor(0.1).double().item() != 0.1


@pytest.mark.parametrize("minimum", [0.0, 1e-6, 0.5])
def test_parameters_stand_for_their_values_and_never_for_less_than_the_minimum(minimum: float) -> None:
    values = torch.tensor([0.5, 1.0, 30.0])
    stored = NonNegative(minimum)
    torch.testing.assert_close(stored(stored.invert(values)), values, atol=1e-6, rtol=1e-6)
    lowest = stored(torch.tensor([-2.0, 0.0, 1e-9]))
    torch.testing.assert_close(lowest, torch.full((3,), minimum), atol=2 * PEDESTAL, rtol=1e-5)


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_follows_its_formula(inverse: bool) -> None:
    layer = GDN(4, inverse)
    with torch.no_grad():
        layer.gamma.add_(torch.rand(4, 4) * 0.3)
        layer.beta.add_(torch.rand(4))
    x = torch.randn(2, 4, 3, 5) * 4
    beta, gamma = (p.detach().double().square() - PEDESTAL for p in (layer.beta, layer.gamma))
    root = (beta[:, None, None] + torch.einsum("ij,bjhw->bihw", gamma, x.double().square())).sqrt()
    expected = x * root if inverse else x / root
    torch.testing.assert_close(layer(x).double(), expected, atol=1e-5, rtol=1e-5)


def test_gdn_squares_in_single_precision_under_autocast() -> None:
    layer = GDN(4)
    x = (torch.randn(1, 4, 3, 3) * 50).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(x)
    assert found.dtype == torch.float32
    assert torch.equal(found, layer(x.float()))


def test_attention_block_adds_its_gated_trunk() -> None:
    block = AttentionBlock(6)
    x = torch.randn(1, 6, 5, 5)
    assert torch.equal(block(x), x + block.conv_a(x) * torch.sigmoid(block.conv_b(x)))
    assert bool((block.conv_a(x) >= 0).all())
