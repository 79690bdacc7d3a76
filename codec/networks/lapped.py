"""Lapped transforms: a linear lapped path that is a good codec from the start, and a nonlinear residual beside it.

    analysis    y = KLT(lap(x)) / deviation + residual(x)          residual and correction start at zero
    synthesis   x = unlap(KLT^T(deviation * y)) + correction(y, linear x)

`lap` mixes pixels across the borders of 16x16 blocks, so that basis functions overlap and low rates show no blocks; the
KLT is that of training patches after `lap`. Compared with random weights this saves hours of training, and few enough
operations remain for a laptop. Both matrices stay trainable. Measured on 20,400 training patches with static Laplace
statistics, lapping lowers the bits of the plain block KLT by 3 % (37 dB) to 6 % (27.7 dB) at slightly better PSNR.
`SkipAnalysis` and `SkipSynthesis` put the same linear path beside the paper's networks.

Source: time-domain lapped transforms, Tran, Liang and Tu, IEEE TSP 51(6), 2003, with a diagonal scaling of 1.3.
"""

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.architecture import Y_PIXELS, ModelConfig
from codec.images.pixels import Samples
from codec.networks.transforms import PaperAnalysis, PaperSynthesis, RateTable, Residual

Layer = TypeVar("Layer", bound=nn.Module)

BLOCK = Y_PIXELS  # side of a block of the linear path, one position of y
# biorthogonal scaling of the first antisymmetric component; 1 is orthogonal. Best of 1, 1.3, 1.6 on training patches
LAP_SCALE = 1.3
CELL = 8  # the nonlinear paths work on 8x8 pixel cells


class LappedAnalysis(nn.Module):
    """Linear path of `g_a`, to which subclasses add a nonlinear one: the lapped KLT."""

    deviation: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.lap = nn.Parameter(lapping_matrix().float())
        self.linear = nn.Conv2d(3, config.latent, BLOCK, stride=BLOCK, bias=False)
        self.register_buffer("deviation", torch.ones(config.latent))

    def lapped(self, centred: Tensor) -> Tensor:
        """Transform pixels (B, 3, H, W) in [-0.5, 0.5] to (B, M, H/16, W/16), in units of each channel's deviation."""
        blocks = F.pixel_unshuffle(lap(centred, self.lap), BLOCK)
        return F.conv2d(blocks, _as_matrix(self.linear)) * (255 / self.deviation)[:, None, None]


class LappedSynthesis(nn.Module):
    """Linear path of `g_s`, to which subclasses add a nonlinear one: the transposed lapped KLT."""

    deviation: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.unlap = nn.Parameter(torch.linalg.inv(lapping_matrix()).float())
        self.linear = nn.ConvTranspose2d(config.latent, 3, BLOCK, stride=BLOCK, bias=False)
        self.register_buffer("deviation", torch.ones(config.latent))

    def unlapped(self, y: Tensor) -> Tensor:
        """Transform y (B, M, h, w) in units of deviation to pixels (B, 3, 16h, 16w) around 0, not clamped."""
        blocks = F.conv2d(y * (self.deviation / 255)[:, None, None], _as_matrix(self.linear).transpose(0, 1))
        return lap(F.pixel_shuffle(blocks, BLOCK), self.unlap)


class KltAnalysis(LappedAnalysis):
    """Analysis `g_a` of `klt`: lapped KLT plus a residual network on 8x8 cells."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        n = config.width
        self.cells = nn.Conv2d(3 * CELL * CELL, n, 3, padding=1)
        self.rate = RateTable(config.levels, n)
        self.blocks = nn.Sequential(*(Residual(n) for _ in range(config.analysis_blocks)))
        self.out = _zeroed(nn.Conv2d(4 * n, config.latent, 1))

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        """Map x (B, 3, H, W) in [0, 1] to y (B, M, H/16, W/16) in units of deviation."""
        centred = x - 0.5
        cells = self.cells(F.pixel_unshuffle(centred, CELL)) + self.rate(quality)[..., None, None]
        return self.lapped(centred) + self.out(F.pixel_unshuffle(self.blocks(cells), BLOCK // CELL))


class KltSynthesis(LappedSynthesis):
    """Synthesis `g_s` of `klt`: the transposed lapped KLT plus a correction from the latents and the linear picture."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        n = config.width
        self.latents = nn.Conv2d(config.latent, 4 * n, 1)
        self.picture = nn.Conv2d(3 * CELL * CELL, n, 1)
        self.rate = RateTable(config.levels, n)
        self.blocks = nn.Sequential(*(Residual(n) for _ in range(config.synthesis_blocks)))
        self.out = _zeroed(nn.Conv2d(n, 3 * CELL * CELL, 3, padding=1))

    def forward(self, y: Tensor, quality: Tensor) -> Tensor:
        """Map y (B, M, h, w) in units of deviation to x_hat (B, 3, 16h, 16w), not clamped."""
        linear = self.unlapped(y)
        cells = F.pixel_shuffle(self.latents(y), BLOCK // CELL) + self.picture(F.pixel_unshuffle(linear, CELL))
        cells = cells + self.rate(quality)[..., None, None]
        cells = self.blocks(cells.contiguous(memory_format=torch.channels_last))  # 3x3 on a CPU: 0.7 of the time
        return linear + F.pixel_shuffle(self.out(cells), CELL) + 0.5


class SkipAnalysis(LappedAnalysis):
    """Analysis `g_a` of `skip`: lapped KLT beside the paper's network, whose output starts at zero."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.network = PaperAnalysis(config)
        _zeroed(self.network.tail[-1])

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        """Map x (B, 3, H, W) in [0, 1] to y (B, M, H/16, W/16) in units of deviation."""
        return self.lapped(x - 0.5) + self.network(x, quality)


class SkipSynthesis(LappedSynthesis):
    """Synthesis `g_s` of `skip`: transposed lapped KLT beside the paper's network, whose output starts at zero."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.network = PaperSynthesis(config)
        _zeroed(self.network.up[-1])

    def forward(self, y: Tensor, quality: Tensor) -> Tensor:
        """Map y (B, M, h, w) in units of deviation to x_hat (B, 3, 16h, 16w), not clamped."""
        return self.unlapped(y) + 0.5 + self.network(y, quality)


def synthesis_reach(config: ModelConfig) -> int:
    """Return how many pixels away, at most, a position of y has any influence on the output of a config's `g_s`."""
    lapped = BLOCK // 2 + CELL * (2 * config.synthesis_blocks + 1)  # two 3x3 convolutions a block on cells, one after
    # four 3x3 convolutions of the residual blocks and one of each upsampling; three 3x3 of the attention at half size
    paper = BLOCK * (4 + 1) + BLOCK // 2 + BLOCK // 4 + BLOCK // 8 + 2 * 3
    return {"klt": lapped, "paper": paper, "skip": max(paper, BLOCK // 2)}[config.transform]


def lap(x: Tensor, matrix: Tensor) -> Tensor:
    """Apply a (16, 16) matrix across every inner block border of x (B, C, H, W), in columns and in rows.

    H and W are multiples of 16, at least 32; the shape stays.
    """
    return _lap_rows(_lap_rows(x, matrix).mT, matrix).mT


def _lap_rows(x: Tensor, matrix: Tensor) -> Tensor:
    """Apply the matrix to rows 8..H-8 in runs of 16, each centred on a block border; the outer 8 rows stay."""
    half = BLOCK // 2
    runs = x[..., half:-half, :].unflatten(-2, (-1, BLOCK))  # (B, C, runs, 16, W)
    return torch.cat([x[..., :half, :], (matrix @ runs).flatten(-3, -2), x[..., -half:, :]], -2)


def lapping_matrix(size: int = BLOCK, scale: float = LAP_SCALE) -> Tensor:
    """Return the pre-filter of a time-domain lapped transform, (size, size) float64; orthogonal for scale 1."""
    half = size // 2
    eye, flip = torch.eye(half, dtype=torch.float64), torch.eye(half, dtype=torch.float64).flip(0)
    butterfly = torch.cat([torch.cat([eye, flip], 1), torch.cat([flip, -eye], 1)]) / 2**0.5
    k, m = torch.arange(half, dtype=torch.float64)[:, None], torch.arange(half, dtype=torch.float64)[None]
    dct2 = (2 / half) ** 0.5 * torch.cos(torch.pi * (m + 0.5) * k / half)
    dct2[0] /= 2**0.5
    dct4 = (2 / half) ** 0.5 * torch.cos(torch.pi * (m + 0.5) * (k + 0.5) / half)
    scaling = torch.ones(half, dtype=torch.float64)
    scaling[0] = scale
    odd = flip @ dct2.T @ torch.diag(scaling) @ dct4 @ flip
    return butterfly @ torch.block_diag(eye, odd) @ butterfly


@torch.no_grad()
def set_klt(analysis: LappedAnalysis, synthesis: LappedSynthesis, kernel: Tensor, deviation: Tensor) -> None:
    """Set both linear paths to a basis `kernel` (M, 3, 16, 16) and its deviations (M,), from `klt_basis`."""
    analysis.linear.weight.copy_(kernel)
    synthesis.linear.weight.copy_(kernel)
    analysis.deviation.copy_(deviation)
    synthesis.deviation.copy_(deviation)


@torch.no_grad()
def klt_basis(photos: list[Samples], channels: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return the KLT of lapped patches: the first M directions (M, 3, 16, 16), and their deviations (M,) on 0..255.

    Args:
        photos: uint8 (H, W, 3), each side at least 48 pixels; about 60,000 patches are drawn from them.
        channels: number of directions M.
        seed: of the positions of the patches.
    """
    rng = np.random.default_rng(seed)
    margin = 3 * BLOCK
    drawn = []
    for photo in photos:
        for _ in range(max(1, 60_000 // len(photos))):
            row, col = (rng.integers(0, side - margin + 1) for side in photo.shape[:2])
            drawn.append(photo[row : row + margin, col : col + margin])
    matrix = lapping_matrix().float()
    covariance = torch.zeros(3 * BLOCK**2, 3 * BLOCK**2, dtype=torch.float64)
    for start in range(0, len(drawn), 2048):
        x = torch.from_numpy(np.stack(drawn[start : start + 2048])).permute(0, 3, 1, 2) / 255 - 0.5
        middle = lap(x, matrix)[:, :, BLOCK : 2 * BLOCK, BLOCK : 2 * BLOCK].flatten(1).double()
        covariance += middle.T @ middle
    variances, basis = torch.linalg.eigh(covariance / len(drawn))
    kernel = basis.flip(1).T[:channels].unflatten(1, (3, BLOCK, BLOCK)).float()
    return kernel, variances.flip(0)[:channels].clamp(min=1e-8).sqrt().float() * 255


def _as_matrix(layer: nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    """Return the weights (M, 3, 16, 16) of a layer whose stride is its kernel as a 1x1 convolution of whole blocks.

    torch's transposed convolution takes nine times as long, and the backward pass of its convolution five times.
    """
    return layer.weight.flatten(1)[..., None, None]


def _zeroed(layer: Layer) -> Layer:
    """Set all parameters of a layer to zero and return it."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer
