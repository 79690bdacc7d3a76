"""CompressAI's fixed-rate models behind the protocol of `codec.interface`.

    z_hat = round(z - medians) + medians
    y_hat = round(y - means) + means        of the scale hyperprior, round(y)

The factorised-prior model has no z; its y is coded with the factorised prior that others have for z. Each model has one
rate, named by CompressAI's quality. Rates are estimated by the model's own likelihoods on its own grid, and files hold
the strings that its own `compress` makes of the refined latents.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from compressai.entropy_models import EntropyBottleneck, GaussianConditional
from compressai.layers import MaskedConv2d
from compressai.models import (
    Cheng2020Anchor,
    Cheng2020AnchorCheckerboard,
    Cheng2020Attention,
    CompressionModel,
    Elic2022Chandelier,
    Elic2022Official,
    FactorizedPrior,
    FactorizedPriorReLU,
    JointAutoregressiveHierarchicalPriors,
    MeanScaleHyperprior,
    ScaleHyperprior,
)
from numpy.typing import NDArray
from torch import Tensor, nn

from codec.architecture import STRIDE, Y_PER_Z, Shape
from codec.interface import AnyCodec, Latents
from codec.zoo import COMPRESSAI, streams
from codec.zoo.entropy import Gaussian, entropy, has_means, hyper_module

MODELS: dict[str, type[CompressionModel]] = {
    "bmshj2018-factorized": FactorizedPrior,
    "bmshj2018-factorized-relu": FactorizedPriorReLU,
    "bmshj2018-hyperprior": ScaleHyperprior,
    "mbt2018-mean": MeanScaleHyperprior,
    "mbt2018": JointAutoregressiveHierarchicalPriors,
    "cheng2020-anchor": Cheng2020Anchor,
    "cheng2020-attn": Cheng2020Attention,
    "cheng2020-anchor-checkerboard": Cheng2020AnchorCheckerboard,
    "elic2022-official": Elic2022Official,
    "elic2022-chandelier": Elic2022Chandelier,
}
LMBDAS = (0.0018, 0.0035, 0.0067, 0.0130, 0.0250, 0.0483, 0.0932, 0.1800)  # of qualities 1..8, CompressAI's, for mse


@dataclass(frozen=True)
class ZooConfig:
    """Identity of a CompressAI model, together with its weights; `quality` is 0 where the rate is variable."""

    architecture: str
    quality: int = 0

    @property
    def name(self) -> str:
        """Name on a command line, without the file of weights."""
        return f"{COMPRESSAI}{self.architecture}{f':{self.quality}' if self.quality else ''}"


class ZooCodec(nn.Module, AnyCodec):
    """Fixed-rate model of CompressAI, frozen, with its coding tables; `quality` is (B,), all equal."""

    def __init__(self, model: CompressionModel, config: ZooConfig) -> None:
        super().__init__()
        self.model, self.config = model, config
        model.update()  # makes tables that the checkpoint lacks
        _fold_masks(model)
        self.eval().requires_grad_(False)

    @property
    def default_quality(self) -> float:
        """Quality this fixed-rate model was trained at, 1 to 8."""
        return float(self.config.quality)

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.bottleneck.quantiles.device

    @property
    def bottleneck(self) -> Any:
        """Factorised prior p(z); of a model without z, p(y)."""
        return next(m for m in self.model.modules() if isinstance(m, EntropyBottleneck))

    @property
    def conditional(self) -> Any:
        """Gaussian p(y) given scales and means, None where there is no z; ELIC's groups have equal ones."""
        return next((m for m in self.model.modules() if isinstance(m, GaussianConditional)), None)

    @property
    def depends_on_z(self) -> bool:
        """Tell whether the grid of y is shifted by predicted means, which follow z."""
        return has_means(self.model)

    def latent_shapes(self, width: int, height: int) -> tuple[Shape, Shape]:
        """Return the shapes of y and z, batch 1, of a picture of width x height pixels."""
        rows, columns = -(-height // STRIDE), -(-width // STRIDE)
        y = 1, streams.y_channels(self.model), Y_PER_Z * rows, Y_PER_Z * columns
        return y, (1, 0, 1, 1) if self.conditional is None else (1, self.bottleneck.channels, rows, columns)

    def lmbda_of(self, quality: float) -> float:
        """Return the weight of the mse (0..255) against bpp that CompressAI trains a quality for."""
        return LMBDAS[round(quality) - 1]

    def analyse(self, x: Tensor, quality: Tensor) -> Latents:
        """Return the unrounded latents of x (B, 3, H, W) in [0, 1]; z is (B, 0, 1, 1) where the model has none."""
        y = self.model.g_a(x)
        if self.conditional is None:
            return Latents(y, y.new_zeros(len(y), 0, 1, 1))
        return Latents(y, hyper_module(self.model).h_a(y if has_means(self.model) else y.abs()))

    @torch.no_grad()
    def grid(self, latents: Latents, quality: Tensor) -> Latents:
        """Return the means of y that a decoder predicts while it decodes these latents, and the medians of z."""
        y, z = latents
        medians = self.bottleneck.quantiles[:, 0, 1].reshape(-1, 1, 1)
        if self.conditional is None:
            return Latents(medians, z.new_zeros(()))
        z_hat = (z - medians).round() + medians
        return Latents(entropy(self.model, y, z_hat, follow=True).means, medians)

    def synthesise(self, latents: Latents, quality: Tensor) -> Tensor:
        """Return x_hat (B, 3, H, W), not clamped."""
        return self.model.g_s(latents.y)

    def mixture(self, y_hat: Tensor, z_hat: Tensor, quality: Tensor) -> Gaussian | tuple[()]:
        """Return the scales and means of all y, by one pass; an empty tuple where p(y) is fixed."""
        return () if self.conditional is None else entropy(self.model, y_hat, z_hat, follow=False)

    def shift(self, mixture: Gaussian) -> Tensor:
        """Return the means of y, which are the shift of its grid."""
        return mixture.means

    def y_bits(self, y: Tensor, mixture: Gaussian) -> Tensor:
        """Return the bits of each y (B, M, h, w), on or off the grid."""
        conditional = self.conditional
        if conditional is None:
            return self._bottleneck_bits(y)
        likelihood = conditional._likelihood(y, mixture.scales, mixture.means)
        return -conditional.likelihood_lower_bound(likelihood).log2()

    def z_bits(self, z: Tensor, quality: Tensor) -> Tensor:
        """Return the bits of each z (B, N, h/4, w/4), on or off the grid."""
        return z if self.conditional is None else self._bottleneck_bits(z)

    def to_words(self, latents: Latents, quality: Tensor) -> NDArray[np.uint32]:
        """Return CompressAI's strings for rounded latents of batch 1, packed into words."""
        return streams.to_words(streams.compress(self.model, latents))

    def from_words(self, words: NDArray[np.uint32], width: int, height: int, quality: Tensor) -> Latents:
        """Return the rounded latents, batch 1, of a picture of width x height pixels.

        Raises:
            BitstreamError: a stream that this model did not write.
        """
        strings = streams.from_words(words, streams.string_count(self.model))
        return streams.decompress(self.model, strings, (-(-height // STRIDE), -(-width // STRIDE)))

    def _bottleneck_bits(self, v: Tensor, step: Tensor | None = None) -> Tensor:
        """Return the bits of each v (B, C, h, w), of intervals as wide as `step` (B, 1, 1, 1), 1 if None."""
        bottleneck = self.bottleneck
        if step is None:
            likelihood, _, _ = bottleneck._likelihood(_by_channel(v))
        else:
            likelihood, _, _ = bottleneck._likelihood_variable(_by_channel(v), qs=_by_channel(step.expand_as(v)))
        bits: Tensor = -bottleneck.likelihood_lower_bound(likelihood).log2()
        return bits.squeeze(1).unflatten(1, (v.shape[0], *v.shape[2:])).transpose(0, 1)


def _fold_masks(model: CompressionModel) -> None:
    """Turn masked convolutions into plain ones of masked weights.

    CompressAI's masked convolutions replace their weights in every forward pass: the first pass would change the id of
    the model, and a captured pass (`rdo.cuda_graph`) would read freed memory.
    """
    for part in model.modules():
        if isinstance(part, MaskedConv2d):
            part.weight.data.mul_(part.mask)
            part.__class__ = nn.Conv2d


def _by_channel(v: Tensor) -> Tensor:
    """Reshape (B, C, h, w) as the bottleneck takes it, (C, 1, B*h*w)."""
    return v.transpose(0, 1).flatten(1).unsqueeze(1)
