"""The protocol of a codec whose latents can be refined: all that `rdo` knows of any codec.

    x --analyse--> y, z --round on the writer's grid--> y_hat, z_hat --synthesise--> x_hat
                                                             |
                                                          mixture --> y_bits, z_bits

A writer codes the integers round(v - grid) and a reader sees v_hat = round(v - grid) + grid. Our own codec has its grid
at the integers. Others shift it by the medians of z and by the means predicted for y, so that it moves with z and with
the latents decoded before: `grid` follows the decoder and says where it lies.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec.architecture import Metric


class Latents(NamedTuple):
    """y (B, M, H/16, W/16) and z (B, N_h, H/64, W/64) in quantisation steps; on the writer's grid once rounded."""

    y: Tensor
    z: Tensor


class Priced(Protocol):
    """What decodes and prices latents on its grid; `quality` is (B,)."""

    @property
    def depends_on_z(self) -> bool:
        """Whether the picture depends on z too: z moves the grid of y, or takes part in synthesis."""

    def grid(self, latents: Latents, quality: Tensor) -> Latents:
        """Where the writer's grid lies when these latents are coded, to be broadcast to their shapes; no gradient."""

    def synthesise(self, latents: Latents, quality: Tensor) -> Tensor:
        """x_hat (B, 3, H, W), not clamped."""

    def mixture(self, y_hat: Tensor, z_hat: Tensor, quality: Tensor) -> Any:
        """Entropy parameters of all y in one differentiable pass: a NamedTuple of tensors, for `y_bits` alone."""

    def shift(self, mixture: Any) -> Tensor:
        """Where the grid of y lies under these parameters, differentiable; asked for only where `depends_on_z`."""

    def y_bits(self, y: Tensor, mixture: Any) -> Tensor:
        """Bits of each y, on or off the grid."""

    def z_bits(self, z: Tensor, quality: Tensor) -> Tensor:
        """Bits of each z, on or off the grid."""


class Refinable(Priced, Protocol):
    """A whole codec, frozen; `quality` is as `level` makes it."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    @property
    def variable_rate(self) -> bool:
        """Whether it has every quality in 1..8; if not, its default alone."""

    @property
    def distortion(self) -> Metric:
        """What it was trained for."""

    @property
    def stride(self) -> int:
        """Pixels: sides of pictures are padded to multiples of it."""

    def level(self, quality: float) -> Tensor:
        """Quality (1,) on the codec's device, as a file can hold it; raises ConfigError for one it does not have."""

    def lmbda_of(self, quality: float) -> float:
        """Weight of that distortion (on the scale of the mse over 0..255) against bpp that suits a quality."""

    def analyse(self, x: Tensor, quality: Tensor) -> Latents:
        """Latents of x (B, 3, H, W) in [0, 1], sides multiples of `stride`; not rounded."""


class Foreign(Refinable, Protocol):
    """A codec that brings its own entropy coder; its files are told from others by the model's id."""

    @property
    def config(self) -> Any:
        """A frozen dataclass with a `name`, which together with the weights makes the model's id."""

    @property
    def default_quality(self) -> float:
        """What is taken where none is asked for."""

    def state_dict(self) -> dict[str, Tensor]:
        """All weights and tables."""

    def to_words(self, latents: Latents, quality: Tensor) -> NDArray[np.uint32]:
        """The stream of rounded latents, batch 1."""

    def from_words(self, words: NDArray[np.uint32], width: int, height: int, quality: Tensor) -> Latents:
        """Rounded latents of a picture of width x height pixels; raises BitstreamError."""


def rate(codec: Priced, latents: Latents, quality: Tensor) -> tuple[Tensor, Tensor]:
    """Bits (B,) of rounded y and of z."""
    y_bits = codec.y_bits(latents.y, codec.mixture(latents.y, latents.z, quality))
    return y_bits.sum((1, 2, 3)), codec.z_bits(latents.z, quality).sum((1, 2, 3))


def bit_map(codec: Priced, latents: Latents, quality: Tensor) -> Tensor:
    """Bits spent on each 16x16 pixels, (B, H/16, W/16); those of z are spread evenly over what it serves."""
    y_bits = codec.y_bits(latents.y, codec.mixture(latents.y, latents.z, quality)).sum(1)
    served = codec.z_bits(latents.z, quality).sum(1).repeat_interleave(4, 1).repeat_interleave(4, 2)
    return y_bits + served / 16


def rounded(latents: Latents, grid: Latents) -> Latents:
    """The nearest latents on the grid: what a plain encoder writes."""
    return Latents(*((v - g).round() + g for v, g in zip(latents, grid, strict=True)))
