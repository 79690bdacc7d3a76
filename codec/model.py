"""Our codec: a variable-rate eContextformer, from pixels to latents, pixels and rate, and to symbols.

    x --g_a--> y --gain, round--> y_hat --1/gain--> g_s --> x_hat
               |                    |
              h_a                rearrange --> context model --+
               |                                               +--> mixture --> bits of y_hat
               z --round--> z_hat --h_s--> features -----------+
                              |
                          p(z) --> bits of z_hat

y_hat and z_hat are integers, and rounding y does not depend on its context: one masked pass over the rounded latents
gives the exact rate, which is what makes refinement cheap. `codec.bitstream.symbols` codes y_hat and z_hat.
"""

import copy
import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from codec.architecture import LINEAR_PROFILE, STRIDE, Metric, ModelConfig, Shape, latent_shapes, lmbda_of
from codec.bitstream.symbols import read_symbols, write_symbols
from codec.errors import BitstreamError, ConfigError
from codec.gain_profiles import PROFILES, log_gain_offsets
from codec.hyper_latents import settled
from codec.interface import AnyCodec, Latents, rate
from codec.networks.baselines import make_context
from codec.networks.context import Mixture, pick
from codec.networks.lapped import (
    KltAnalysis,
    KltSynthesis,
    LappedAnalysis,
    LappedSynthesis,
    SkipAnalysis,
    SkipSynthesis,
    synthesis_reach,
)
from codec.networks.likelihoods import FactorisedPrior, StepMixture, in_steps, mixture_bits
from codec.networks.transforms import HyperAnalysis, HyperSynthesis, PaperAnalysis, PaperSynthesis, RateTable
from codec.weight_cache import cached_by_weights

TRANSFORMS: dict[str, tuple[type[nn.Module], type[nn.Module]]] = {
    "paper": (PaperAnalysis, PaperSynthesis),
    "klt": (KltAnalysis, KltSynthesis),
    "skip": (SkipAnalysis, SkipSynthesis),
}


class Evaluation(NamedTuple):
    """Reconstruction x_hat (B, 3, H, W), not clamped, and estimated rate of latents: y_bits and z_bits (B,)."""

    x_hat: Tensor
    y_bits: Tensor
    z_bits: Tensor


class Codec(nn.Module, AnyCodec):
    """Variable-rate eContextformer; `quality` is (B,) in 1..8 everywhere."""

    variable_rate = True
    supports_bf16 = True
    gain_profile = 0
    slow_coder = True  # a step of the context model for each group, in double precision

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        analysis, synthesis = TRANSFORMS[config.transform]
        self.g_a, self.g_s = analysis(config), synthesis(config)
        self.h_a = HyperAnalysis(config)
        self.h_s = HyperSynthesis(config)
        self.context = make_context(config)
        self.context_rate = RateTable(config.levels, config.context_width)
        self.prior = FactorisedPrior(config.hyper_width)
        self.log_gain = RateTable(config.levels, config.latent)
        self.register_buffer("gain_offsets", torch.zeros(config.latent), persistent=False)  # of the gain profile
        with torch.no_grad():
            self.log_gain.table.copy_(-torch.log(level_steps(config.levels))[:, None].expand(-1, config.latent))

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.log_gain.table.device

    @property
    def distortion(self) -> Metric:
        """Training objective."""
        return self.config.distortion

    @property
    def gain_profiles(self) -> int:
        """Number of gain profiles; the linear one, the last, needs a transform that has a linear path."""
        return PROFILES if self.linear_profile else PROFILES - 1

    @property
    def linear_profile(self) -> int | None:
        """Gain profile whose files the linear path alone decodes; None if the transform has none."""
        return LINEAR_PROFILE if isinstance(self.g_s, LappedSynthesis) else None

    @property
    def tile_halo(self) -> int:
        """Pixels around a tile that its latents and its pixels are computed from: half of what has any influence.

        Measured on a photograph, y changes by less than 1e-4 of a step by what lies further away, pixels by less than
        2.4e-4 levels with `small` and 8e-3 with `base-skip`.
        """
        return -(-synthesis_reach(self.config) // (2 * STRIDE)) * STRIDE

    @property
    def strip_rows(self) -> int:
        """Rows of y in a multiple of which a picture may be cut into strips: those of an attention window."""
        return self.config.window

    def latent_shapes(self, width: int, height: int) -> tuple[Shape, Shape]:
        """Return the shapes of y and z, batch 1, of a picture of width x height pixels."""
        return latent_shapes(self.config, width, height)

    def with_gain_profile(self, profile: int) -> "Codec":
        """Return this codec with the quantisation steps of a profile 0..7, sharing its networks.

        Raises:
            ConfigError: no such profile.
        """
        if not 0 <= profile < self.gain_profiles:
            raise ConfigError(f"gain profile {profile}: must lie in 0..{self.gain_profiles - 1}")
        if profile == self.gain_profile:
            return self
        copies = _profiled_codecs(self)
        if profile not in copies:
            copies[profile] = copy.copy(self)
            offsets = log_gain_offsets(profile, self.log_gain.table.detach())
            copies[profile]._buffers = {**self._buffers, "gain_offsets": offsets}
            copies[profile].gain_profile = profile
        return copies[profile]

    def gains(self, quality: Tensor) -> Tensor:
        """Return the gains (B, M): quantisation steps for each unit of y, those of the gain profile."""
        return (self.log_gain(quality) + self.gain_offsets).exp()

    def analyse(self, x: Tensor, quality: Tensor) -> Latents:
        """Return the unrounded latents of x (B, 3, H, W) in [0, 1], sides multiples of 64."""
        y = self.g_a(x, quality)
        z = self.h_a(y, quality)  # of the networks' y in any profile: a linear one is nothing that `h_a` was trained on
        if self.gain_profile == self.linear_profile:
            assert isinstance(self.g_a, LappedAnalysis)
            y = self.g_a.linear_latents(x)
        return Latents(y * self.gains(quality)[..., None, None], z)

    def settled(self, latents: Latents, quality: Tensor) -> Latents:
        """Return latents of `analyse`, with zeros for some of z where the entropy model would go astray."""
        return settled(self, latents, quality)

    def synthesise(self, latents: Latents, quality: Tensor) -> Tensor:
        """Return x_hat (B, 3, H, W), not clamped, from y alone, in integer steps."""
        y = latents.y / self.gains(quality)[..., None, None]
        if self.gain_profile == self.linear_profile:
            assert isinstance(self.g_s, LappedSynthesis)
            return self.g_s.linear_picture(y)
        return self.g_s(y, quality)

    def features(self, z_hat: Tensor, quality: Tensor) -> Tensor:
        """Return the hyper-features (B, F, H/16, W/16) of z_hat."""
        return self.h_s(z_hat, quality)

    def group_gains(self, quality: Tensor, segments: list[int]) -> Tensor:
        """Return the gains of the segment of each coding step, (B, G, 1, 1, 1, p)."""
        by_segment = self.gains(quality).unflatten(1, (self.config.segments, -1))
        return pick(by_segment, segments, 1)[:, :, None, None, None]

    def mixture(self, y_hat: Tensor, z_hat: Tensor, quality: Tensor, context: bool = True) -> StepMixture:
        """Return the mixtures of every y in coding order, (B, G, h, w/2, k, p), by one masked pass.

        Without `context` they are those of the hyperprior alone, which no file is coded with.
        """
        gains = self.group_gains(quality, self.context.step_segments(*y_hat.shape[2:]))
        features = self.features(z_hat, quality)
        if context:
            tokens = self.context.tokens(y_hat) / gains.squeeze(4)
            raw = self.context.masked(tokens, features, self.context_rate(quality))
        else:
            raw = self.context.without_context(features)
        # likelihoods need fp32 even where the networks ran in bf16
        return in_steps(Mixture(*(t.float() for t in raw)), gains)

    def y_bits(self, y: Tensor, mixture: StepMixture) -> Tensor:
        """Return the bits of each y (B, M, h, w), on or off the integer grid, under parameters of `mixture`."""
        with torch.autocast(y.device.type, enabled=False):  # tails of likelihoods need fp32
            bits = mixture_bits(self.context.tokens(y), mixture)
        return self.context.latents(bits, *y.shape[2:])

    def z_bits(self, z: Tensor, quality: Tensor) -> Tensor:  # noqa: ARG002  (others' steps depend on it)
        """Return the bits of each z (B, N_h, h/4, w/4), on or off the integer grid."""
        with torch.autocast(z.device.type, enabled=False):
            return self.prior.bits(z)

    def evaluate(self, latents: Latents, quality: Tensor) -> Evaluation:
        """Decode and price latents in one differentiable pass."""
        y_bits, z_bits = rate(self, latents, quality)
        return Evaluation(self.synthesise(latents, quality), y_bits, z_bits)

    def check_ready(self) -> None:
        """Raise where p(z) has no coding table, as before training ends.

        Raises:
            ConfigError: its rows are zero.
        """
        if not bool(self.prior.rows[0, 0]):
            raise ConfigError("this codec has no rows for p(z) yet: call codec.prior.freeze() after training")

    def check_stream_length(self, words: int, width: int, height: int) -> None:
        """Raise where the words are too few even for the likeliest z of a picture of this size.

        Raises:
            BitstreamError: the stream is too short.
        """
        rows = self.prior.rows.double()
        bits = float((rows.sum(1) / rows.amax(1)).log2().sum())  # of one position
        _, z_shape = self.latent_shapes(width, height)
        z_bits_min = bits * math.prod(z_shape[2:])
        if 32 * words + 64 < z_bits_min:
            raise BitstreamError(f"{words} words cannot hold {width}x{height} pixels: the header is forged")

    def to_words(self, latents: Latents, quality: Tensor) -> NDArray[np.uint32]:
        """Return the range-coded stream of latents of batch 1, which are rounded to integers."""
        return write_symbols(self, latents, quality)

    def from_words(self, words: NDArray[np.uint32], width: int, height: int, quality: Tensor) -> Latents:
        """Return the integer latents, batch 1, of a picture of width x height pixels.

        Raises:
            BitstreamError: the stream decodes differently on this machine.
        """
        return read_symbols(self, words, width, height, quality)


@cached_by_weights
def _profiled_codecs(codec: Codec) -> dict[int, Codec]:  # noqa: ARG001  (of whose weights it is the cache)
    """Return the cache of a codec's copies for its other gain profiles, empty at first."""
    return {}


def level_steps(levels: int) -> Tensor:
    """Return the quantisation step of an orthonormal transform at each level, on the 255 scale: sqrt(26 / lmbda).

    From d bits / d step = -1 / (step ln 2) for each of the 768 coefficients of a 16x16 block, against the distortion
    step^2 / 12.
    """
    qualities = torch.linspace(1, 8, levels) if levels > 1 else torch.tensor([4.0])
    return torch.tensor([(26 / lmbda_of(float(q))) ** 0.5 for q in qualities])


@torch.no_grad()
def set_gains_from_deviation(codec: Codec, deviation: Tensor) -> None:
    """Set gains to deviation / step, so that every channel (M,) starts with the uniform step of its rate level."""
    steps = level_steps(codec.config.levels).to(deviation.device)
    codec.log_gain.table.copy_(torch.log(deviation[None] / steps[:, None]))
