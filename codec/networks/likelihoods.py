"""Likelihoods of the latents: the discretised Gaussian mixture of y and the factorised prior of z, differentiable.

    P(y) = sum_i w_i [Phi((y + 1/2 - mu_i) / s_i) - Phi((y - 1/2 - mu_i) / s_i)]

They serve training, refinement and estimates, in floating point. Files are written from the integer rows of
`codec.bitstream.probability_tables`, which follow this formula on a grid; the limits of that grid (`LOG2_SCALE_MIN`,
`LOG2_SCALE_MAX`) stand here, so that estimate and file agree. Source of the mixture: Cheng et al., arXiv:2001.01568.
"""

import math
from itertools import pairwise, zip_longest
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.networks.context import Mixture
from codec.networks.layers import LowerBound, limited, lower_bound

LOG2_SCALE_MIN, LOG2_SCALE_MAX = -4.5, 11.5  # of deviations in integer steps: 0.044 .. 2896
Z_REACH = 24  # hyper-latents beyond this take the escape
PROBABILITY_MIN = 2.0**-22  # about what an integer row gives at least
PRIOR_WIDTHS = (3, 3, 3, 3)  # hidden widths of the prior's cumulative network
PRIOR_SPREAD = 10.0  # half the range that p(z) covers before training, in integer steps


class StepMixture(NamedTuple):
    """Entropy parameters in integer quantisation steps, each (..., k, p): weights sum to 1 over k."""

    weights: Tensor
    means: Tensor
    scales: Tensor


def in_steps(mixture: Mixture, gains: Tensor) -> StepMixture:
    """Convert raw parameters in units of deviation to integer steps, with scales within the limits of the tables.

    Beyond a limit the gradient can bring a scale back: a network that once strays there must not stay.

    Args:
        mixture: raw parameters, each (B, G, H, W/2, k, p).
        gains: steps for each unit of deviation, (B, G, 1, 1, 1, p).
    """
    middle, reach = (LOG2_SCALE_MAX + LOG2_SCALE_MIN) / 2, (LOG2_SCALE_MAX - LOG2_SCALE_MIN) / 2
    octaves = mixture.log_scales / math.log(2) + gains.log2() - middle
    scales = (limited(octaves, reach) + middle).exp2()
    return StepMixture(mixture.logits.softmax(-2), mixture.means * gains, scales)


def mixture_bits(y: Tensor, mixture: StepMixture) -> Tensor:
    """Return the estimated bits of each latent y (..., p), on or off the integer grid, under a mixture (..., k, p)."""
    distance = (y.unsqueeze(-2) - mixture.means).abs()
    upper = _normal_cdf((0.5 - distance) / mixture.scales)
    lower = _normal_cdf((-0.5 - distance) / mixture.scales)
    likelihood = (mixture.weights * (upper - lower)).sum(-2)
    return -lower_bound(likelihood, PROBABILITY_MIN).log2()


class FactorisedPrior(nn.Module):
    """Factorised prior p(z) = c(z + 1/2) - c(z - 1/2), with a learned cumulative distribution c for each channel.

    c is a monotone network of five layers (`cdf_logits`). Medians are fixed at 0, so z is rounded to plain integers.
    Files are written from `rows` (C, 2 * Z_REACH + 2): integer frequencies of -Z_REACH..Z_REACH and of the escape. They
    are part of the checkpoint, so that no machine computes its own; `freeze` makes them when training ends.

    State-dict keys, initial values and likelihoods are those of CompressAI's `EntropyBottleneck`, bit for bit.

    Source: Ballé et al., "Variational image compression with a scale hyperprior", arXiv:1802.01436, appendix 6.1.
    """

    rows: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.matrices, self.biases, self.factors = nn.ParameterList(), nn.ParameterList(), nn.ParameterList()
        widths = (1, *PRIOR_WIDTHS, 1)
        scale = PRIOR_SPREAD ** (1 / (len(widths) - 1))  # of one layer: all together widen PRIOR_SPREAD times
        for inputs, outputs in pairwise(widths):
            start = math.log(math.expm1(1 / scale / outputs))  # softplus of it is 1 / (scale * outputs)
            self.matrices.append(nn.Parameter(torch.full((channels, outputs, inputs), start)))
            self.biases.append(nn.Parameter(torch.empty(channels, outputs, 1).uniform_(-0.5, 0.5)))
        for width in PRIOR_WIDTHS:
            self.factors.append(nn.Parameter(torch.zeros(channels, width, 1)))
        self._register_unused()
        self.register_buffer("rows", torch.zeros(channels, 2 * Z_REACH + 2, dtype=torch.int32))

    def _register_unused(self) -> None:
        """Register tensors that only CompressAI's entropy coder uses: state dicts and model ids include them."""
        quantiles = torch.tensor([-PRIOR_SPREAD, 0, PRIOR_SPREAD]).repeat(self.channels, 1, 1)
        self.quantiles = nn.Parameter(quantiles, requires_grad=False)
        tail = math.log(2 / 1e-9 - 1)
        self.register_buffer("target", torch.tensor([-tail, 0, tail]))
        self.likelihood_lower_bound = LowerBound(1e-9)
        for name in ("_offset", "_quantized_cdf", "_cdf_length"):
            self.register_buffer(name, torch.empty(0, dtype=torch.int32))

    @torch.no_grad()
    def freeze(self) -> None:
        """Compute the coding tables `rows` from the present weights: frequencies >= 1 that sum to about 2^22."""
        support = torch.arange(-Z_REACH, Z_REACH + 1.0, device=self.rows.device).expand(self.channels, 1, -1)
        inside = self.likelihood(support).squeeze(1).double()
        outside = (1 - inside.sum(1, keepdim=True)).clamp(min=0)
        self.rows.copy_((torch.cat([inside, outside], 1) * 2**22).round() + 1)

    def bits(self, z: Tensor) -> Tensor:
        """Return the estimated bits of each hyper-latent z (B, C, h, w), on or off the integer grid, in z's shape."""
        values = z.transpose(0, 1).flatten(1).unsqueeze(1)  # (C, 1, B*h*w)
        bits = -lower_bound(self.likelihood(values), PROBABILITY_MIN).log2()
        return bits.squeeze(1).unflatten(1, (z.shape[0], *z.shape[2:])).transpose(0, 1)

    def likelihood(self, values: Tensor) -> Tensor:
        """Return the probability of the unit interval round each of `values` (C, 1, n), in the same shape."""
        lower, upper = self.cdf_logits(values - 0.5), self.cdf_logits(values + 0.5)
        return torch.sigmoid(upper) - torch.sigmoid(lower)

    def cdf_logits(self, values: Tensor) -> Tensor:
        """Return the logit of the cumulative distribution at `values` (C, 1, n), in the same shape.

        Each layer is x -> g(softplus(H) x + b) with g(x) = x + tanh(a) tanh(x), and no g after the last; with matrices
        of positive entries and |tanh(a)| < 1 the whole increases with x.
        """
        logits = values
        for matrix, bias, factor in zip_longest(self.matrices, self.biases, self.factors):
            logits = F.softplus(matrix) @ logits + bias
            if factor is not None:
                logits = logits + torch.tanh(factor) * torch.tanh(logits)
        return logits


def _normal_cdf(x: Tensor) -> Tensor:
    """Return the standard normal distribution's cumulative function, by erfc, which stays exact in the lower tail."""
    return 0.5 * torch.erfc(x * -(2**-0.5))
