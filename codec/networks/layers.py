"""Layers of the paper's transforms: divisive normalisation, residual block, attention block; and the lower bound.

Invariant: state-dict keys, initial values, outputs and gradients equal those of CompressAI's `GDN`, `ResidualBlock`,
`AttentionBlock` and `LowerBound`, bit for bit, so a checkpoint trained with either runs in both. Activations work in
place where CompressAI's do: under autocast that decides the precision in which a residual is added.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PEDESTAL = 2.0**-36  # added below the square of GDN's parameters, so that the square root has a finite slope at zero
BETA_MIN = 1e-6  # smallest offset of GDN's denominator
GAMMA_START = 0.1  # each channel's weight on its own energy at the start; 0 on the energy of others


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """Return max(x, bound), elementwise, with a gradient that can lift x back over the bound.

    Where x < bound, gradients that would lower x are zero and those that would raise it pass through. The bound is
    rounded to single precision also where x is double: probability tables rely on that value.
    """
    return _LowerBound.apply(x, torch.full((1,), bound, device=x.device))  # filled on the device: the host never waits


def limited(x: Tensor, limit: float | Tensor) -> Tensor:
    """Return x clamped to -limit..limit, elementwise, with a gradient that can bring x back within the limit.

    Where |x| > limit, gradients that would take x further out are zero and those that would bring it back pass through.

    Args:
        limit: positive; a tensor must be broadcastable to the shape of x.
    """
    if not isinstance(limit, Tensor):
        limit = torch.full((1,), limit, device=x.device)  # filled on the device: the host never waits
    return _Limited.apply(x, limit.to(x.dtype))


class LowerBound(nn.Module):
    """Lower bound max(x, bound) as a module; the state dict keeps the bound as `bound` (1,)."""

    bound: Tensor

    def __init__(self, bound: float) -> None:
        super().__init__()
        self.register_buffer("bound", torch.tensor([bound], dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Return max(x, bound), elementwise, for x of any shape."""
        return _LowerBound.apply(x, self.bound)


class _LowerBound(torch.autograd.Function):
    """Elementwise maximum whose gradient reaches x above the bound, or where descent would raise x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: Tensor) -> Tensor:
        ctx.save_for_backward(x, bound)
        return torch.maximum(x, bound)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, bound = ctx.saved_tensors
        passes = (x >= bound) | (gradient < 0)  # descent along a negative gradient raises x
        return gradient * passes, None


class _Limited(torch.autograd.Function):
    """Elementwise clamp whose gradient reaches x within the limits, or where descent would bring x back."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, limit: Tensor) -> Tensor:
        ctx.save_for_backward(x, limit)
        return torch.minimum(torch.maximum(x, -limit), limit)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, limit = ctx.saved_tensors
        passes = (x.abs() <= limit) | (gradient * x > 0)  # descent takes x against the gradient's sign
        return gradient * passes, None


class NonNegative(nn.Module):
    """Reparametrisation of values v >= minimum by free parameters p: v = max(p, sqrt(minimum + PEDESTAL))^2 - PEDESTAL.

    Small values get small steps, and the bound's gradient lets a parameter leave its minimum again.

    Source: Ballé et al., "Density modeling of images using a generalized normalization transformation",
    arXiv:1511.06281; the square is that of Ballé, "Efficient nonlinear transforms for lossy image compression",
    arXiv:1802.00847.
    """

    pedestal: Tensor

    def __init__(self, minimum: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("pedestal", torch.tensor([PEDESTAL]))
        self.lower_bound = LowerBound((minimum + PEDESTAL) ** 0.5)

    def invert(self, values: Tensor) -> Tensor:
        """Return the free parameters p of non-negative `values` v, of any shape."""
        return (values + self.pedestal).clamp(min=PEDESTAL).sqrt()

    def forward(self, parameters: Tensor) -> Tensor:
        """Return the values v, at least the minimum, of free `parameters` p of any shape."""
        return self.lower_bound(parameters).square() - self.pedestal


class GDN(nn.Module):
    """Generalised divisive normalisation: y_i = x_i / sqrt(beta_i + sum_j gamma_ij x_j^2), over channels j.

    The inverse multiplies by the same root instead. Both run in the parameters' precision, under autocast too:
    in bfloat16 the squares would lose half their digits.

    Source: Ballé et al., arXiv:1511.06281, with exponents fixed at 2 and 1/2; the approximate inverse is that of Ballé
    et al., "End-to-end optimized image compression", arXiv:1611.01704.
    """

    def __init__(self, channels: int, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta_reparam = NonNegative(BETA_MIN)
        self.beta = nn.Parameter(self.beta_reparam.invert(torch.ones(channels)))
        self.gamma_reparam = NonNegative()
        self.gamma = nn.Parameter(self.gamma_reparam.invert(GAMMA_START * torch.eye(channels)))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (B, C, h, w), or with `inverse` undo a normalisation; returns the parameters' dtype."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(self.beta.dtype)
            beta, gamma = self.beta_reparam(self.beta), self.gamma_reparam(self.gamma)
            energy = F.conv2d(x.square(), gamma[..., None, None], beta)  # the sum over j as a 1x1 convolution
            return x * (energy.sqrt() if self.inverse else energy.rsqrt())


class ResidualBlock(nn.Module):
    """Residual block: x, by a 1x1 convolution where the width changes, plus two 3x3 convolutions with leaky ReLUs.

    Source: Cheng et al., arXiv:2001.01568, figure of the network.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, inputs, h, w) to (B, outputs, h, w)."""
        hidden = F.leaky_relu(self.conv1(x), inplace=True)
        out = F.leaky_relu(self.conv2(hidden), inplace=True)
        return out + (x if self.skip is None else self.skip(x))


class Bottleneck(nn.Module):
    """Residual unit at half the width, relu(x + 1x1(relu(3x3(relu(1x1(x)))))), for an even number of channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv = nn.Sequential(
            nn.Conv2d(channels, half, 1), nn.ReLU(inplace=True),
            nn.Conv2d(half, half, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(half, channels, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, C, h, w) to non-negative (B, C, h, w)."""
        return F.relu(self.conv(x).add_(x), inplace=True)


class AttentionBlock(nn.Module):
    """Residual attention, x + a(x) * sigmoid(b(x)): a trunk of three residual units and a gate of three more.

    Source: Cheng et al., arXiv:2001.01568, the simplified attention module, without the non-local block.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_a = nn.Sequential(*(Bottleneck(channels) for _ in range(3)))
        self.conv_b = nn.Sequential(*(Bottleneck(channels) for _ in range(3)), nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, C, h, w) to (B, C, h, w)."""
        return (self.conv_a(x) * torch.sigmoid(self.conv_b(x))).add_(x)
