"""The paper's transforms `g_a g_s h_a h_s`, and what the rate level adds to any of them (`RateTable`).

    x (B, 3, H, W) --g_a--> y (B, M, H/16, W/16) --h_a--> z (B, N_h, H/64, W/64) --h_s--> features (B, F, H/16, W/16)

x lies in [0, 1]. y leaves `g_a` and enters `g_s` in units of each channel's own deviation; the integer grid is made by
the gains in `codec.model`. H and W are multiples of 64.

Source: eContextformer (arXiv:2306.14287): four stride-2 3x3 convolutions with GDN and one residual attention module
(Cheng et al., arXiv:2001.01568, without the non-local block); hyperprior with 5x5 convolutions (arXiv:1809.02736).
"""

import torch
from compressai.layers import GDN, AttentionBlock, ResidualBlock
from torch import Tensor, nn
from torch.nn import functional as F

from codec.architecture import QUALITY_FIRST, QUALITY_LAST, ModelConfig


class RateTable(nn.Module):
    """A vector of `width` for each rate level, interpolated linearly to a continuous quality in 1..8."""

    def __init__(self, levels: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(levels, width))

    def forward(self, quality: Tensor) -> Tensor:
        """quality (B,) -> (B, width). One level serves every quality; values outside 1..8 are clamped."""
        levels = self.table.shape[0]
        position = (quality - QUALITY_FIRST) / (QUALITY_LAST - QUALITY_FIRST) * (levels - 1)
        position = position.clamp(0, levels - 1)
        low = position.floor().long().clamp(max=max(levels - 2, 0))
        high = (low + 1).clamp(max=levels - 1)
        return torch.lerp(self.table[low], self.table[high], (position - low)[:, None])


class Gdn(GDN):  # type: ignore[misc]
    """GDN in single precision whatever runs around it: squares lose half their digits in bfloat16."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(self.beta.dtype))


class PaperAnalysis(nn.Module):
    """`g_a` of the paper; `rate` shifts its features by quality."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        n, m = config.width, config.latent
        self.head = nn.Sequential(_down(3, n, 3), Gdn(n), AttentionBlock(n), _down(n, n, 3), Gdn(n))
        self.rate = RateTable(config.levels, n)
        self.tail = nn.Sequential(_down(n, n, 3), Gdn(n), _down(n, m, 3))

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        """x (B, 3, H, W) in [0, 1] -> y (B, M, H/16, W/16)."""
        x = x.contiguous(memory_format=torch.channels_last)  # on a CPU 0.8 of the time
        return self.tail(self.head(x) + self.rate(quality)[..., None, None])


class PaperSynthesis(nn.Module):
    """`g_s` of the paper: two residual blocks, then `g_a` mirrored, the attention module after the third upsampling."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        n, m = config.width, config.latent
        self.blocks = nn.Sequential(ResidualBlock(m, n), ResidualBlock(n, n))
        self.rate = RateTable(config.levels, n)
        self.up = nn.Sequential(
            _up(n, n, 3), Gdn(n, inverse=True), _up(n, n, 3), Gdn(n, inverse=True),
            _up(n, n, 3), AttentionBlock(n), Gdn(n, inverse=True), _up(n, 3, 3),
        )  # fmt: skip

    def forward(self, y: Tensor, quality: Tensor) -> Tensor:
        """y (B, M, h, w) in units of deviation -> x_hat (B, 3, 16h, 16w), not clamped."""
        y = y.contiguous(memory_format=torch.channels_last)  # on a CPU 0.8 of the time
        return self.up(self.blocks(y) + self.rate(quality)[..., None, None])


class HyperAnalysis(nn.Module):
    """`h_a`: y (B, M, h, w) in units of deviation -> z (B, N_h, h/4, w/4)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        n = config.hyper_width
        self.first = nn.Conv2d(config.latent, n, 3, padding=1)
        self.rate = RateTable(config.levels, n)
        self.rest = nn.Sequential(nn.LeakyReLU(), _down(n, n, 5), nn.LeakyReLU(), _down(n, n, 5))

    def forward(self, y: Tensor, quality: Tensor) -> Tensor:
        """Hyper-latents, not rounded."""
        return self.rest(self.first(y) + self.rate(quality)[..., None, None])


class HyperSynthesis(nn.Module):
    """`h_s`: z_hat (B, N_h, h/4, w/4) -> features (B, F, h, w) for the entropy parameters."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        n = config.hyper_width
        self.up = nn.Sequential(_up(n, n, 5), nn.LeakyReLU(), _up(n, n, 5), nn.LeakyReLU())
        self.rate = RateTable(config.levels, n)
        self.last = nn.Sequential(nn.Conv2d(n, config.hyper_features, 3, padding=1), nn.LeakyReLU())

    def forward(self, z_hat: Tensor, quality: Tensor) -> Tensor:
        """Hyper-features at the resolution of y."""
        return self.last(self.up(z_hat) + self.rate(quality)[..., None, None])


class Residual(nn.Module):
    """Two 3x3 convolutions beside an identity: `x + conv(relu(conv(x)))`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> the same."""
        return x + self.second(F.leaky_relu(self.first(x)))


def _down(inputs: int, outputs: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride=2, padding=kernel // 2)


def _up(inputs: int, outputs: int, kernel: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, kernel, stride=2, padding=kernel // 2, output_padding=1)
