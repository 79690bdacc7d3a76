"""The codec: a variable-rate eContextformer, and its three ways from pixels to rate and back.

    x --g_a--> y --gain, round--> y_hat --1/gain--> g_s --> x_hat
               |                    |
              h_a                rearrange --> context model --+
               |                                               +--> mixture --> bits of y_hat
               z --round--> z_hat --h_s--> features -----------+
                              |
                          p(z) --> bits of z_hat

y_hat and z_hat are integers, and rounding y does not depend on its context: one masked pass over the rounded latents
gives the exact rate, which is what makes refinement cheap. `codec.coding` turns y_hat and z_hat into bytes and back.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from codec.architecture import QUALITY_FIRST, QUALITY_LAST, STRIDE, Metric, ModelConfig, lmbda_of
from codec.bitstream.container import on_header_grid
from codec.errors import ConfigError
from codec.interface import Latents as Latents  # others know it from here
from codec.interface import rate
from codec.networks.baselines import make_context
from codec.networks.context import Mixture, pick
from codec.networks.lapped import KltAnalysis, KltSynthesis, SkipAnalysis, SkipSynthesis
from codec.networks.likelihoods import FactorisedPrior, StepMixture, in_steps, mixture_bits
from codec.networks.transforms import HyperAnalysis, HyperSynthesis, PaperAnalysis, PaperSynthesis, RateTable

TRANSFORMS: dict[str, tuple[type[nn.Module], type[nn.Module]]] = {
    "paper": (PaperAnalysis, PaperSynthesis),
    "klt": (KltAnalysis, KltSynthesis),
    "skip": (SkipAnalysis, SkipSynthesis),
}
Shape = tuple[int, int, int, int]


class Evaluation(NamedTuple):
    """What latents decode to and cost: x_hat (B, 3, H, W) not clamped; y_bits and z_bits (B,), estimates."""

    x_hat: Tensor
    y_bits: Tensor
    z_bits: Tensor


class Codec(nn.Module):
    """A variable-rate eContextformer; `quality` is (B,) in 1..8 everywhere."""

    stride = STRIDE
    default_quality = 4.0
    variable_rate = True
    depends_on_z = False

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
        with torch.no_grad():
            self.log_gain.table.copy_(-torch.log(level_steps(config.levels))[:, None].expand(-1, config.latent))

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.log_gain.table.device

    @property
    def distortion(self) -> Metric:
        """What it was trained for."""
        return self.config.distortion

    def level(self, quality: float) -> Tensor:
        """(1,) on the codec's device, on the header's grid.

        Raises:
            ConfigError: quality outside 1..8.
        """
        if not QUALITY_FIRST <= quality <= QUALITY_LAST:
            raise ConfigError(f"quality {quality}: must lie between 1 (smallest file) and 8 (best picture)")
        return torch.tensor([on_header_grid(quality)], device=self.device)

    def lmbda_of(self, quality: float) -> float:
        """Weight of the distortion (on the scale of the mse over 0..255) against bpp that a quality was trained for."""
        return lmbda_of(quality)

    def gains(self, quality: Tensor) -> Tensor:
        """Quantisation steps for each unit of deviation, (B, M)."""
        return self.log_gain(quality).exp()

    def analyse(self, x: Tensor, quality: Tensor) -> Latents:
        """Latents of x (B, 3, H, W) in [0, 1], sides multiples of 64; not rounded."""
        y = self.g_a(x, quality)
        return Latents(y * self.gains(quality)[..., None, None], self.h_a(y, quality))

    def grid(self, latents: Latents, quality: Tensor) -> Latents:  # noqa: ARG002  (others' grids move)
        """The integers, whatever is coded."""
        return Latents(*(v.new_zeros(()) for v in latents))

    def synthesise(self, latents: Latents, quality: Tensor) -> Tensor:
        """x_hat (B, 3, H, W), not clamped, from y alone, in integer steps."""
        return self.g_s(latents.y / self.gains(quality)[..., None, None], quality)

    def features(self, z_hat: Tensor, quality: Tensor) -> Tensor:
        """Hyper-features (B, F, H/16, W/16)."""
        return self.h_s(z_hat, quality)

    def group_gains(self, quality: Tensor, segments: list[int]) -> Tensor:
        """Gains of each step's segment (B, G, 1, 1, 1, p)."""
        by_segment = self.gains(quality).unflatten(1, (self.config.segments, -1))
        return pick(by_segment, segments, 1)[:, :, None, None, None]

    def mixture(self, y_hat: Tensor, z_hat: Tensor, quality: Tensor, context: bool = True) -> StepMixture:
        """Parameters of every latent in coding order, (B, G, h, w/2, k, p), by one masked pass.

        Without `context` they are what the hyperprior alone expects, which no file is coded with.
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

    def shift(self, mixture: StepMixture) -> Tensor:
        """Nowhere."""
        return mixture.means.new_zeros(())

    def y_bits(self, y: Tensor, mixture: StepMixture) -> Tensor:
        """Bits of each latent y (B, M, h, w), on or off the integer grid, under parameters of `mixture`."""
        with torch.autocast(y.device.type, enabled=False):  # tails of likelihoods need fp32
            bits = mixture_bits(self.context.tokens(y), mixture)
        return self.context.latents(bits, *y.shape[2:])

    def z_bits(self, z: Tensor, quality: Tensor) -> Tensor:  # noqa: ARG002  (others' steps depend on it)
        """Bits of each hyper-latent z (B, N_h, h/4, w/4), on or off the integer grid."""
        with torch.autocast(z.device.type, enabled=False):
            return self.prior.bits(z)

    def evaluate(self, latents: Latents, quality: Tensor) -> Evaluation:
        """Decode and price latents in one differentiable pass."""
        y_bits, z_bits = rate(self, latents, quality)
        return Evaluation(self.synthesise(latents, quality), y_bits, z_bits)


def latent_shapes(config: ModelConfig, width: int, height: int, images: int = 1) -> tuple[Shape, Shape]:
    """Of y and of z, for images of width x height pixels."""
    rows, columns = -(-height // STRIDE), -(-width // STRIDE)
    return (images, config.latent, 4 * rows, 4 * columns), (images, config.hyper_width, rows, columns)


def level_steps(levels: int) -> Tensor:
    """Quantisation step of an orthonormal transform at each level, on the 255 scale: sqrt(26 / lmbda).

    From d bits / d step = -1 / (step ln 2) for each of the 768 coefficients of a 16x16 block, against the distortion
    step^2 / 12.
    """
    qualities = torch.linspace(1, 8, levels) if levels > 1 else torch.tensor([4.0])
    return torch.tensor([(26 / lmbda_of(float(q))) ** 0.5 for q in qualities])


@torch.no_grad()
def set_gains_from_deviation(codec: Codec, deviation: Tensor) -> None:
    """Gains = deviation / step, so that every channel (M,) starts with the uniform step that suits its rate level."""
    steps = level_steps(codec.config.levels).to(deviation.device)
    codec.log_gain.table.copy_(torch.log(deviation[None] / steps[:, None]))
