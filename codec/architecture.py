"""Architecture of a codec: dimensions, strides and the scale of quality.

A `ModelConfig` fixes the shapes of the weights and the coding order. It is stored in every checkpoint and hashed into
the model id, so two models that differ here never read each other's files. Two are named: `configs/models/small.yaml`
and `base.yaml`.
"""

import re
from dataclasses import dataclass, fields, replace
from typing import Literal

LAMBDA_FIRST = 0.002  # the paper's lowest rate, on the 255 scale
LAMBDA_RATIO = 29.0  # ... to its highest, 0.058
QUALITY_FIRST, QUALITY_LAST = 1.0, 8.0
QUALITY_STEPS = 4096  # of the header's grid, for each whole quality
DIMENSION_MAX = 4096  # of each width, depth and count
WINDOW_TOKENS_MAX = 4096  # of a window of attention, all its planes together
SIDE_MAX = 65_536  # pixels along a side of an image
PIXELS_MAX = 200_000_000  # of an image, unless a caller says otherwise; the format holds more
TILE_PIXELS_MAX = 100_000_000  # of a tile, which is coded at once; 300 bytes a pixel with the model `small`
Y_PIXELS = 16  # side, in pixels, of the square that one position of y covers
STRIDE = 64  # side, in pixels, of the square that one position of z covers; images are padded to multiples of it
Y_PER_Z = STRIDE // Y_PIXELS  # positions of y along a side of the square that one position of z covers
LINEAR_PROFILE = 7  # gain profile of files that the linear path alone decodes (`codec.gain_profiles`)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
MS_SSIM_SIDE_MIN = 161  # pixels; four halvings must leave a window of 11

Metric = Literal["mse", "ms_ssim"]
Order = Literal["sfo", "cfo"]
Context = Literal["econtextformer", "pcontextformer", "contextformer"]
Shape = tuple[int, int, int, int]


@dataclass(frozen=True)
class ModelConfig:
    """Widths, depths and switches of a variable-rate eContextformer.

    Attributes:
        name: identifies the model on a command line.
        transform: `paper` (strided convolutions with GDN), `klt` (linear lapped path plus a narrow nonlinear residual)
            or `skip` (the paper's networks beside that linear path, which starts far better).
        width: N, channels inside `g_a` and `g_s`.
        analysis_blocks, synthesis_blocks: residual blocks of the `klt` transforms; the paper's are fixed.
        latent: M, channels of y; a multiple of `segments`.
        hyper_width: channels of z and inside `h_a`, `h_s`.
        hyper_features: channels of the output of `h_s` (the paper: 2M).
        segments: N_cs, channel segments of y.
        order: `sfo` codes both checkerboard colours of a segment before the next segment, `cfo` all segments of one
            colour before the other colour.
        skip_first: SFG, the first group is coded from the hyperprior alone.
        mixtures: k, Gaussians of the mixture.
        context_width, context_depth, heads, mlp_ratio: d_e, L and the shape of a transformer block.
        window: K, side of an attention window in latents; even.
        head_width: hidden units of the entropy-parameter MLP.
        levels: rate levels with gains of their own, spread evenly over quality 1..8 (1 = a fixed-rate model).
        context: the context model; the last two are the paper's baselines (`codec.networks.baselines`).
        rearranged: EGR, checkerboards are squeezed so that no attention is spent on empty positions.
        cached: keys and values of coded groups are kept; without, every step computes them again.
        stride: latents that a window of `pcontextformer` is moved by.
        distortion: training objective, weighed by lambda against the rate.
    """

    name: str
    transform: Literal["paper", "klt", "skip"]
    width: int
    latent: int
    hyper_width: int
    hyper_features: int
    context_width: int
    context_depth: int
    heads: int
    head_width: int
    analysis_blocks: int = 2
    synthesis_blocks: int = 3
    segments: int = 4
    order: Order = "sfo"
    skip_first: bool = True
    mixtures: int = 3
    mlp_ratio: int = 4
    window: int = 8
    levels: int = 8
    context: Context = "econtextformer"
    rearranged: bool = True
    cached: bool = True
    stride: int = 1
    distortion: Metric = "mse"

    def __post_init__(self) -> None:
        for field in fields(self):
            value, least = getattr(self, field.name), 0 if field.name.endswith("_blocks") else 1
            if isinstance(value, int) and not isinstance(value, bool) and not least <= value <= DIMENSION_MAX:
                raise ValueError(f"{field.name} {value} must lie in {least}..{DIMENSION_MAX}")
        if not NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name!r}: letters, digits and . _ + - only, as files are named after it")
        if (tokens := self.segments * self.window**2) > WINDOW_TOKENS_MAX:
            raise ValueError(f"segments {self.segments} x window {self.window}^2: {tokens} latents to attend over")
        if self.latent % self.segments:
            raise ValueError(f"latent {self.latent} is no multiple of segments {self.segments}")
        if self.context_width % self.heads:
            raise ValueError(f"context_width {self.context_width} is no multiple of heads {self.heads}")
        if self.window % 4:
            raise ValueError(f"window {self.window} is no multiple of 4 (half of it is shifted, squeezed by 2)")
        if self.context != "econtextformer" and (self.cached or not self.rearranged):
            raise ValueError(f"{self.context} has no switches: give it cached: false, rearranged: true")
        if self.context == "contextformer" and self.skip_first:
            raise ValueError("contextformer has no first group to skip: give it skip_first: false")
        if not 1 <= self.stride <= self.window:
            raise ValueError(f"stride {self.stride} must lie between 1 and window {self.window}")

    @property
    def segment_width(self) -> int:
        """Channels p of one token."""
        return self.latent // self.segments


def trained_for(config: ModelConfig, distortion: Metric, *, for_eyes: bool = False) -> ModelConfig:
    """Return `config` for weights trained for a distortion, which ends their name: -ms-ssim, or -visual for the eye."""
    name = config.name.removesuffix("-ms-ssim").removesuffix("-visual")
    suffix = "-visual" if for_eyes else "-ms-ssim" if distortion == "ms_ssim" else ""
    return replace(config, name=name + suffix, distortion=distortion)


def latent_shapes(config: ModelConfig, width: int, height: int, images: int = 1) -> tuple[Shape, Shape]:
    """Return the shapes of y (B, M, H/16, W/16) and z (B, N_h, H/64, W/64) of images of width x height pixels."""
    rows, columns = -(-height // STRIDE), -(-width // STRIDE)
    return (images, config.latent, Y_PER_Z * rows, Y_PER_Z * columns), (images, config.hyper_width, rows, columns)


def lmbda_of(quality: float) -> float:
    """Return the Lagrange multiplier 0.002 * 29^((quality - 1) / 7) of loss = bpp + lmbda * mse, mse on 0..255."""
    return float(LAMBDA_FIRST * LAMBDA_RATIO ** ((quality - QUALITY_FIRST) / (QUALITY_LAST - QUALITY_FIRST)))


def on_header_grid(quality: float) -> float:
    """Return the nearest quality that the header of a file can hold."""
    return round(quality * QUALITY_STEPS) / QUALITY_STEPS
