"""What refinement minimises: bpp + lmbda * distortion, on the image's own pixels, and the best latents found for it."""

from typing import NamedTuple

import torch
from torch import Tensor

from codec.coding import round_latents
from codec.entropy import StepMixture
from codec.image import crop
from codec.model import Codec, Latents


class Cost(NamedTuple):
    """Per image (B,): `total` = bpp + lmbda * mse, and its parts; rates are the model's estimate."""

    total: Tensor
    bpp: Tensor
    mse: Tensor


class Problem(NamedTuple):
    """What is fixed during a refinement.

    Attributes:
        codec: frozen.
        x: images (B, 3, H, W) in [0, 1], unpadded.
        quality: (B,) in 1..8.
        lmbda: (B,), weight of the mse (0..255 scale) against bits per pixel.
    """

    codec: Codec
    x: Tensor
    quality: Tensor
    lmbda: Tensor

    @property
    def pixels(self) -> int:
        """Of one image; rates in bits divided by it are bpp."""
        return self.x.shape[-2] * self.x.shape[-1]

    def mse(self, y: Tensor) -> Tensor:
        """Mean squared error (B,) of what y decodes to.

        The padding that the networks see has no distortion of its own, so the rate is free to shrink it; the picture is
        clamped as a decoder clamps it.
        """
        x_hat = crop(self.codec.synthesise(y, self.quality), *self.x.shape[-2:]).clamp(0, 1)
        return 255**2 * (x_hat - self.x).square().mean((1, 2, 3))

    def price(self, latents: Latents, own: Latents) -> tuple[Cost, StepMixture]:
        """Differentiable cost per image, and the entropy parameters of y.

        Decoder and context model see `latents`, relaxed or integer; `own` are what the parameters are asked to code.
        The two are equal but for a caller who wants their gradients apart.
        """
        mixture = self.codec.mixture(latents.y, latents.z, self.quality)
        bits = self.codec.y_bits(own.y, mixture).sum((1, 2, 3)) + self.codec.z_bits(own.z).sum((1, 2, 3))
        bpp, mse = bits / self.pixels, self.mse(latents.y)
        return Cost(bpp + self.lmbda * mse, bpp, mse), mixture

    def cost(self, latents: Latents) -> Cost:
        """Differentiable cost of latents, per image."""
        return self.price(latents, latents)[0]


class Best(NamedTuple):
    """The best integer latents so far and their cost, per image."""

    latents: Latents
    cost: Cost


def keep_better(best: Best, latents: Latents, candidate: Cost) -> Best:
    """Per image, the cheaper of two integer latents; no device sync."""
    better = candidate.total < best.cost.total  # (B,); False for a NaN
    costs = (torch.where(better, n, o).detach() for n, o in zip(candidate, best.cost, strict=True))
    return Best(select(better, latents, best.latents), Cost(*costs))


def select(chosen: Tensor, new: Latents, old: Latents) -> Latents:
    """`new` for the images that `chosen` (B,) marks, `old` for the others."""
    return Latents(*(torch.where(chosen[:, None, None, None], n, o) for n, o in zip(new, old, strict=True)))


@torch.no_grad()
def look(problem: Problem, best: Best, latents: Latents) -> Best:
    """Round latents, price them truly, keep what is better."""
    rounded = round_latents(latents)
    return keep_better(best, rounded, problem.cost(rounded))
