"""Likelihoods: the discretised Gaussian mixture of y, and the factorised prior of z. Float and differentiable.

    P(y) = sum_i w_i [Phi((y + 1/2 - mu_i) / s_i) - Phi((y - 1/2 - mu_i) / s_i)]

These serve training, refinement and estimates; files are written from the integer rows of
`codec.bitstream.probability_tables`, which follow the same formula on a grid. Limits of the grid (`SCALE_MIN`,
`SCALE_MAX`) therefore live here.
"""

from typing import NamedTuple

import torch
from compressai.entropy_models import EntropyBottleneck
from compressai.ops.bound_ops import LowerBoundFunction
from torch import Tensor

from codec.networks.context import Mixture

LOG2_SCALE_MIN, LOG2_SCALE_MAX = -4.5, 11.5
SCALE_MIN, SCALE_MAX = 2.0**LOG2_SCALE_MIN, 2.0**LOG2_SCALE_MAX  # deviations in integer steps: 0.044 .. 2896
Z_REACH = 24  # hyper-latents beyond this take the escape
PROBABILITY_MIN = 2.0**-22  # about what an integer row gives at least


class StepMixture(NamedTuple):
    """Entropy parameters in integer quantisation steps, each (..., k, p): weights sum to 1 over k."""

    weights: Tensor
    means: Tensor
    scales: Tensor


def in_steps(mixture: Mixture, gains: Tensor) -> StepMixture:
    """Raw parameters in units of deviation -> integer steps; `gains` (B, G, 1, 1, 1, p) are steps for each unit."""
    log_scales = mixture.log_scales.clamp(-20, 20)
    scales = log_scales.exp() * gains
    return StepMixture(mixture.logits.softmax(-2), mixture.means * gains, lower_bound(scales, SCALE_MIN))


def mixture_bits(y: Tensor, mixture: StepMixture) -> Tensor:
    """Bits of each latent y (..., p), on or off the integer grid, under a mixture (..., k, p)."""
    distance = (y.unsqueeze(-2) - mixture.means).abs()
    upper = _normal_cdf((0.5 - distance) / mixture.scales)
    lower = _normal_cdf((-0.5 - distance) / mixture.scales)
    likelihood = (mixture.weights * (upper - lower)).sum(-2)
    return -lower_bound(likelihood, PROBABILITY_MIN).log2()


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """max(x, bound), letting gradients through that would lift x over the bound (CompressAI's `LowerBound`)."""
    return LowerBoundFunction.apply(x, torch.full((1,), bound, device=x.device))  # made there: no wait


class FactorisedPrior(EntropyBottleneck):  # type: ignore[misc]
    """p(z): CompressAI's EntropyBottleneck with medians fixed at 0, so z is rounded to plain integers.

    Files are written from `rows` (C, 2 * Z_REACH + 2): integer frequencies of -Z_REACH..Z_REACH and of the escape. They
    are part of the checkpoint, so that no machine computes its own; `freeze` makes them when training ends.
    """

    rows: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.register_buffer("rows", torch.zeros(channels, 2 * Z_REACH + 2, dtype=torch.int32))

    @torch.no_grad()
    def freeze(self) -> None:
        """Compute the integer rows of the present weights: every frequency at least 1, in sum about 2^22."""
        support = torch.arange(-Z_REACH, Z_REACH + 1.0, device=self.rows.device).expand(self.channels, 1, -1)
        likelihood, _, _ = self._likelihood(support)
        inside = likelihood.squeeze(1).double()
        outside = (1 - inside.sum(1, keepdim=True)).clamp(min=0)
        self.rows.copy_((torch.cat([inside, outside], 1) * 2**22).round() + 1)

    def bits(self, z: Tensor) -> Tensor:
        """Bits of each hyper-latent z (B, C, h, w), on or off the integer grid."""
        values = z.transpose(0, 1).flatten(1).unsqueeze(1)  # (C, 1, B*h*w)
        likelihood, _, _ = self._likelihood(values)
        bits = -lower_bound(likelihood, PROBABILITY_MIN).log2()
        return bits.squeeze(1).unflatten(1, (z.shape[0], *z.shape[2:])).transpose(0, 1)


def _normal_cdf(x: Tensor) -> Tensor:
    return 0.5 * torch.erfc(x * -(2**-0.5))
