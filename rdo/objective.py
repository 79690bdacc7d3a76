"""What refinement minimises: bpp + lmbda * mse, on the image's own pixels."""

from typing import NamedTuple

from torch import Tensor

from codec.image import crop
from codec.model import Codec, Latents


class Cost(NamedTuple):
    """Per image (B,): `total` = bpp + lmbda * mse, and its parts; rates are the model's estimate."""

    total: Tensor
    bpp: Tensor
    mse: Tensor


def cost(codec: Codec, latents: Latents, x: Tensor, quality: Tensor, lmbda: Tensor) -> Cost:
    """Differentiable cost of latents, relaxed or integer, for images x (B, 3, H, W) in [0, 1], unpadded.

    The padding that the networks see has no distortion of its own, so the rate is free to shrink it; the picture is
    clamped as a decoder clamps it. `lmbda` (B,) multiplies the mse on the 0..255 scale.
    """
    height, width = x.shape[-2:]
    out = codec.evaluate(latents, quality)
    x_hat = crop(out.x_hat, height, width).clamp(0, 1)
    mse = 255**2 * (x_hat - x).square().mean((1, 2, 3))
    bpp = (out.y_bits + out.z_bits) / (height * width)
    return Cost(bpp + lmbda * mse, bpp, mse)
