"""Transforms of the paper, `g_a g_s h_a h_s`, and the vectors that adapt any of them to the quality (`RateTable`).

    x (B, 3, H, W) --g_a--> y (B, M, H/16, W/16) --h_a--> z (B, N_h, H/64, W/64) --h_s--> features (B, F, H/16, W/16)

x lies in [0, 1]. y leaves `g_a` and enters `g_s` in units of each channel's own deviation; the integer grid is made by
the gains in `codec.model`. H and W are multiples of 64.

Source: eContextformer (arXiv:2306.14287): four stride-2 3x3 convolutions with GDN and one residual attention module
(Cheng et al., arXiv:2001.01568, without the non-local block); hyperprior with 5x5 convolutions (arXiv:1809.02736).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.architecture import QUALITY_FIRST, QUALITY_LAST, ModelConfig
from codec.networks.layers import GDN, AttentionBlock, ResidualBlock


class RateTable(nn.Module):
    """Vector of `width` for each rate level, interpolated linearly to a continuous quality in 1..8."""

    def __init__(self, levels: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(levels, width))

    def forward(self, quality: Tensor) -> Tensor:
        """Interpolate at each quality (B,), giving (B, width); qualities outside 1..8 are clamped.

        A table of a single level gives that level at every quality.
        """
        levels = self.table.shape[0]
        position = (quality - QUALITY_FIRST) / (QUALITY_LAST - QUALITY_FIRST) * (levels - 1)
        position = position.clamp(0, levels - 1)
        low = position.floor().long().clamp(max=max(levels - 2, 0))
        high = (low + 1).clamp(max=levels - 1)
        return torch.lerp(self.table[low], self.table[high], (position - low)[:, None])


class PaperAnalysis(nn.Module):
    """Analysis `g_a` of the paper: four stride-2 convolutions; `rate` shifts the features by quality."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        n, m = config.width, config.latent
        self.head = nn.Sequential(_down(3, n, 3), GDN(n), AttentionBlock(n), _down(n, n, 3), GDN(n))
        self.rate = RateTable(config.levels, n)
        self.tail = nn.Sequential(_down(n, n, 3), GDN(n), _down(n, m, 3))

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        """Map x (B, 3, H, W) in [0, 1] at quality (B,) to y (B, M, H/16, W/16) in units of deviation."""
        x = x.contiguous(memory_format=torch.channels_last)  # on a CPU 0.8 of the time
        return self.tail(self.head(x) + self.rate(quality)[..., None, None])


class PaperSynthesis(nn.Module):
    """Synthesis `g_s` of the paper: two residual blocks, then `g_a` mirrored; attention after the third upsampling."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        n, m = config.width, config.latent
        self.blocks = nn.Sequential(ResidualBlock(m, n), ResidualBlock(n, n))
        self.rate = RateTable(config.levels, n)
        self.up = nn.Sequential(
            _up(n, n, 3), GDN(n, inverse=True), _up(n, n, 3), GDN(n, inverse=True),
            _up(n, n, 3), AttentionBlock(n), GDN(n, inverse=True), _up(n, 3, 3),
        )  # fmt: skip

    def forward(self, y: Tensor, quality: Tensor) -> Tensor:
        """Map y (B, M, h, w) in units of deviation at quality (B,) to x_hat (B, 3, 16h, 16w), not clamped."""
        y = y.contiguous(memory_format=torch.channels_last)  # on a CPU 0.8 of the time
        return self.up(self.blocks(y) + self.rate(quality)[..., None, None])


class HyperAnalysis(nn.Module):
    """Hyper-analysis `h_a`: one 3x3 convolution and two stride-2 5x5 convolutions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        n = config.hyper_width
        self.first = nn.Conv2d(config.latent, n, 3, padding=1)
        self.rate = RateTable(config.levels, n)
        self.rest = nn.Sequential(nn.LeakyReLU(), _down(n, n, 5), nn.LeakyReLU(), _down(n, n, 5))

    def forward(self, y: Tensor, quality: Tensor) -> Tensor:
        """Map y (B, M, h, w) in units of deviation at quality (B,) to z (B, N_h, h/4, w/4), not rounded."""
        return self.rest(self.first(y) + self.rate(quality)[..., None, None])


class HyperSynthesis(nn.Module):
    """Hyper-synthesis `h_s`: two upsampling 5x5 convolutions and one of 3x3, giving features for the entropy model."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        n = config.hyper_width
        self.up = nn.Sequential(_up(n, n, 5), nn.LeakyReLU(), _up(n, n, 5), nn.LeakyReLU())
        self.rate = RateTable(config.levels, n)
        self.last = nn.Sequential(nn.Conv2d(n, config.hyper_features, 3, padding=1), nn.LeakyReLU())

    def forward(self, z_hat: Tensor, quality: Tensor) -> Tensor:
        """Map z_hat (B, N_h, h, w) at quality (B,) to hyper-features (B, F, 4h, 4w), at the resolution of y."""
        return self.last(self.up(z_hat) + self.rate(quality)[..., None, None])


class Residual(nn.Module):
    """Residual block of two 3x3 convolutions: x + conv(leaky_relu(conv(x)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, C, h, w) to (B, C, h, w)."""
        return x + self.second(F.leaky_relu(self.first(x)))


def _down(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride=2, padding=kernel // 2)


def _up(inputs: int, outputs: int, kernel: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, kernel, stride=2, padding=kernel // 2, output_padding=1)
