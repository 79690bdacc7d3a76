"""What refinement minimises: bpp + lmbda * distortion, on the image's own pixels, and the best latents found for it."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.architecture import Y_PIXELS
from codec.images.pixels import crop
from codec.interface import Latents, Priced, rounded
from rdo.distortion import MSE, Distortion


class Cost(NamedTuple):
    """Per image (B,): `total` = bpp + lmbda * distortion, and its parts; rates are the model's estimate."""

    total: Tensor
    bpp: Tensor
    distortion: Tensor


class Problem(NamedTuple):
    """What is fixed during a refinement.

    Attributes:
        codec: frozen.
        x: images (B, 3, H, W) in [0, 1], unpadded.
        quality: (B,), as the codec's `level` makes it.
        lmbda: (B,), weight of the distortion (of mse on 0..255) against bits per pixel.
        measure: of distortion; the mse unless told otherwise.
    """

    codec: Priced
    x: Tensor
    quality: Tensor
    lmbda: Tensor
    measure: Distortion = MSE

    @property
    def pixels(self) -> int:
        """Of one image; rates in bits divided by it are bpp."""
        return self.x.shape[-2] * self.x.shape[-1]

    @torch.no_grad()
    def grid(self, latents: Latents) -> Latents:
        """Where the writer's grid lies when these latents are coded."""
        return self.codec.grid(latents, self.quality)

    def rounded(self, latents: Latents) -> Latents:
        """The nearest latents that a file can hold."""
        return rounded(latents, self.grid(latents))

    def distortion(self, latents: Latents) -> Tensor:
        """Distortion (B,) of what latents decode to.

        The padding that the networks see has no distortion of its own, so the rate is free to shrink it; the picture is
        clamped as a decoder clamps it.
        """
        x_hat = crop(self.codec.synthesise(latents, self.quality), *self.x.shape[-2:]).float().clamp(0, 1)
        return self.measure(x_hat, self.x)

    def price(self, latents: Latents, own: Latents, riding: bool = False) -> tuple[Cost, Any, Latents]:
        """Differentiable cost per image, the entropy parameters of y, and the bits of each latent.

        Decoder and context model see `latents`, relaxed or rounded; `own` are what the parameters are asked to code.
        The two are equal but for a caller who wants their gradients apart, and that of y `riding` on its grid.
        """
        mixture = self.codec.mixture(latents.y, latents.z, self.quality)
        seen_y, own_y = (self.riding(y, mixture) if riding else y for y in (latents.y, own.y))
        bits = Latents(self.codec.y_bits(own_y, mixture), self.codec.z_bits(own.z, self.quality))
        bpp = (bits.y.sum((1, 2, 3)) + bits.z.sum((1, 2, 3))) / self.pixels
        distortion = self.distortion(latents._replace(y=seen_y))
        return Cost(bpp + self.lmbda * distortion, bpp, distortion), mixture, bits

    def weight_of(self, y: Tensor) -> Tensor | float:
        """What errors at each position of y count, (1, 1, h, w) of mean 1; 1 where no mask tells them apart."""
        if self.measure.weight is None:
            return 1.0
        height, width = self.measure.weight.shape[-2:]
        beyond = 0, Y_PIXELS * y.shape[-1] - width, 0, Y_PIXELS * y.shape[-2] - height
        return F.avg_pool2d(F.pad(self.measure.weight, beyond, mode="replicate"), Y_PIXELS)

    def riding(self, y: Tensor, mixture: Any) -> Tensor:
        """y itself, with the gradient of one that keeps its symbol and moves with its grid."""
        if not self.codec.depends_on_z:
            return y
        shift = self.codec.shift(mixture)
        return y + (shift - shift.detach())

    def cost(self, latents: Latents) -> Cost:
        """Differentiable cost of latents, per image."""
        return self.price(latents, latents)[0]


class Best(NamedTuple):
    """The best rounded latents so far and their cost, per image."""

    latents: Latents
    cost: Cost


def keep_better(best: Best, latents: Latents, candidate: Cost) -> Best:
    """Per image, the cheaper of two rounded latents; no device sync."""
    better = candidate.total < best.cost.total  # (B,); False for a NaN
    costs = (torch.where(better, n, o).detach() for n, o in zip(candidate, best.cost, strict=True))
    return Best(select(better, latents, best.latents), Cost(*costs))


class Patience:
    """Counts looks at the best that found none of its images better; `spent` at the limit, never where that is 0."""

    def __init__(self, limit: int, best: Best) -> None:
        self.limit, self.stale, self.seen = limit, 0, best.cost.total.clone()

    def spent(self, best: Best) -> bool:
        """Look at the best; this waits for the device, unless there is no limit."""
        if not self.limit:
            return False
        self.stale = 0 if bool((best.cost.total < self.seen).any()) else self.stale + 1
        self.seen = best.cost.total.clone()  # of a best that may be overwritten
        return self.stale >= self.limit


def select(chosen: Tensor, new: Latents, old: Latents) -> Latents:
    """`new` for the images that `chosen` (B,) marks, `old` for the others."""
    return Latents(*(torch.where(chosen[:, None, None, None], n, o) for n, o in zip(new, old, strict=True)))


@torch.no_grad()
def priced(problem: Problem, latents: Latents) -> Best:
    """Rounded latents and what they cost."""
    return Best(latents, problem.cost(latents))


@torch.no_grad()
def look(problem: Problem, best: Best, latents: Latents) -> Best:
    """Round latents, price them truly, keep what is better."""
    return keep_better(best, *priced(problem, problem.rounded(latents)))
