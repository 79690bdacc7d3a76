"""CompressAI's variable-rate models behind the protocol: one model for every quality in 1..8.

    gain = |Gain| of the quality        step = max(gayn2zqstep(1 / gain), 0.5); 1 where that of z does not vary
    y = gain g_a(x)                     z = h_a(g_a(x)) / step
    symbols = round(y - gain means)     x_hat = g_s((y_hat - clamp(symbols, -1, 1) QuantABCD(gain scales, gain)) / gain)

Latents are in quantisation steps, not in the model's units. An offset that depends on the scales, hence on z, moves
reconstructions towards the means; it is 0 for a symbol of 0, and proportional to a relaxed symbol in -1..1. Between
two of the model's 8 levels, gain and lambda are interpolated geometrically; the model's own functions take the gain as
`inputscale`.

The rate of z is that of the coder's tables. The `forward` of a model whose step varies gives another: it prices
intervals of 1, whatever the step.

Source: Kamisli, Racape and Choi, "Variable-Rate Learned Image Compression with Multi-Objective Optimization and
Quantization-Reconstruction Offsets", DCC 2024.
"""

import copy
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from compressai.models import CompressionModel, MeanScaleHyperpriorVbr, ScaleHyperpriorVbr
from numpy.typing import NDArray
from torch import Tensor

from codec.architecture import STRIDE
from codec.interface import Latents, rounded
from codec.zoo import streams
from codec.zoo.entropy import Gaussian
from codec.zoo.fixed_rate import LMBDAS, ZooCodec, ZooConfig

VARIABLE: dict[str, type[ScaleHyperpriorVbr]] = {
    "bmshj2018-hyperprior-vbr": ScaleHyperpriorVbr,
    "mbt2018-mean-vbr": MeanScaleHyperpriorVbr,
}
TABLES = ("_offset", "_quantized_cdf", "_cdf_length")  # of p(z); where the step varies they are made for each file
STAGE = 2  # of CompressAI's training, after which rates vary


class Units(NamedTuple):
    """Scales from the model's units to quantisation steps, (B, 1, 1, 1) each: y * gain, z / step."""

    gain: Tensor
    step: Tensor


class VbrCodec(ZooCodec):
    """Variable-rate model of CompressAI, frozen; `quality` is (B,) in 1..8."""

    variable_rate = True
    default_quality = 4.0
    depends_on_z = True

    def __init__(self, model: CompressionModel, config: ZooConfig) -> None:
        super().__init__(model, config)
        if model.vr_entbttlnck:
            for name in TABLES:
                setattr(self.bottleneck, name, self.bottleneck._offset.new_empty(0))

    @property
    def bottleneck(self) -> Any:
        """Factorised prior p(z)."""
        return self.model.entropy_bottleneck

    def lmbda_of(self, quality: float) -> float:
        """Return the weight of the mse (0..255) against bpp that CompressAI trains a quality for."""
        return math.prod(lmbda ** max(0.0, 1 - abs(quality - i)) for i, lmbda in enumerate(LMBDAS, 1))

    def units(self, quality: Tensor) -> Units:
        """Return the model's gain of y and step of z at qualities (B,)."""
        levels = torch.arange(1, len(LMBDAS) + 1, device=quality.device)
        shares = (1 - (quality[:, None] - levels).abs()).clamp(min=0)
        gain = (self.model.Gain.abs() ** shares).prod(1, keepdim=True)  # exact at a level, where the other powers are 1
        step = torch.ones_like(gain)
        if self.model.vr_entbttlnck:
            step = self.model.lower_bound_zqstep(self.model.gayn2zqstep(1 / gain))
        return Units(gain[..., None, None], step[..., None, None])

    def analyse(self, x: Tensor, quality: Tensor) -> Latents:
        """Return the unrounded latents of x (B, 3, H, W) in [0, 1]."""
        (y, z), (gain, step) = super().analyse(x, quality), self.units(quality)
        return Latents(gain * y, z / step)

    @torch.no_grad()
    def grid(self, latents: Latents, quality: Tensor) -> Latents:
        """Return the means of y that a decoder predicts from z, and the medians of z."""
        medians = self.bottleneck.quantiles[:, 0, 1].reshape(-1, 1, 1) / self.units(quality).step
        z_hat = (latents.z - medians).round() + medians
        return Latents(self.mixture(latents.y, z_hat, quality).means, medians)

    def synthesise(self, latents: Latents, quality: Tensor) -> Tensor:
        """Return x_hat (B, 3, H, W), not clamped."""
        gain = self.units(quality).gain
        scales, means = self.mixture(*latents, quality)
        spread = self.conditional.lower_bound_scale(scales)
        offset = self.model.QuantABCD(torch.stack((spread, gain.expand_as(spread)), -1)).squeeze(-1)
        return self.model.g_s((latents.y - (latents.y - means).clamp(-1, 1) * offset) / gain)

    def mixture(self, y_hat: Tensor, z_hat: Tensor, quality: Tensor) -> Gaussian:
        """Return the scales and means of all y, from z alone."""
        gain, step = self.units(quality)
        found = super().mixture(y_hat, z_hat * step, quality)
        return Gaussian(*(gain * parameter for parameter in found))

    def z_bits(self, z: Tensor, quality: Tensor) -> Tensor:
        """Return the bits of each z (B, N, h/4, w/4), on or off the grid."""
        step = self.units(quality).step
        return self._bottleneck_bits(z * step, step if self.model.vr_entbttlnck else None)

    def to_words(self, latents: Latents, quality: Tensor) -> NDArray[np.uint32]:
        """Return CompressAI's strings for rounded latents of batch 1, packed into words."""
        gain, step = units = self.units(quality)
        own = Latents(latents.y / gain, latents.z * step)
        return streams.to_words(streams.compress(self.model, own, self._replacements(units), _rate_arguments(units)))

    def from_words(self, words: NDArray[np.uint32], width: int, height: int, quality: Tensor) -> Latents:
        """Return the rounded latents, batch 1, of a picture of width x height pixels.

        Raises:
            BitstreamError: a stream that this model did not write.
        """
        gain, step = units = self.units(quality)
        strings = streams.from_words(words, streams.string_count(self.model))
        hyper = -(-height // STRIDE), -(-width // STRIDE)
        y, z = streams.decompress(self.model, strings, hyper, self._replacements(units), _rate_arguments(units))
        latents = Latents(y * gain, z / step)
        return rounded(latents, self.grid(latents, quality))  # to the bit what was written

    def _replacements(self, units: Units) -> list[streams.Replacement]:
        """Return the replacements while coding: no reconstruction offsets, and a p(z) with tables for this step."""
        replacements: list[streams.Replacement] = [(self.model, "no_quantoffset", True)]
        if self.model.vr_entbttlnck:
            bottleneck = copy.deepcopy(self.bottleneck)
            bottleneck.update_variable(force=True, qs=units.step.flatten())
            replacements.append((self.model, "entropy_bottleneck", bottleneck))
        return replacements


def _rate_arguments(units: Units) -> tuple[Any, ...]:
    """Return the arguments `stage`, `s` (ignored) and `inputscale` of the model's own functions."""
    return STAGE, 0, units.gain.flatten()


def model_of(architecture: str, weights: dict[str, Tensor]) -> CompressionModel:
    """Build the model of weights, which tell whether the step of z varies; tables for one step are left out."""
    if not any(name.startswith("gayn2zqstep.") for name in weights):
        return VARIABLE[architecture].from_state_dict(weights)
    tables = {f"entropy_bottleneck.{name}" for name in TABLES}
    bare = {name: t.new_empty(0) if name in tables else t for name, t in weights.items()}
    return VARIABLE[architecture].from_state_dict(bare, vr_entbttlnck=True)
