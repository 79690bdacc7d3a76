"""The objective of refinement, bpp + lmbda * distortion on the image's own pixels, and the best latents found so far.

Invariant: what is kept as best is rounded on the writer's grid and priced as rounded, never by a relaxation.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from codec.architecture import Y_PIXELS
from codec.images.pixels import crop
from codec.interface import Latents, Priced, rounded
from rdo.distortion import MSE, Distortion

Observe = Callable[[int, Tensor], None]  # of the number of a step and the cost (B,) of the latents after it


class Cost(NamedTuple):
    """Rate-distortion cost per image, each (B,): `total` = bpp + lmbda * distortion; bpp is the model's estimate."""

    total: Tensor
    bpp: Tensor
    distortion: Tensor


class Problem(NamedTuple):
    """Inputs of a refinement that stay fixed while latents change.

    Attributes:
        codec: frozen.
        x: images (B, 3, H, W) in [0, 1], unpadded.
        quality: (B,), as the codec's `level` returns it.
        lmbda: (B,), weight of the distortion (on the scale of mse on 0..255) against bits per pixel.
        metric: distortion that is minimised.
        offset: column and row of x where the latents' own pixels begin; more may be left and right of them.
    """

    codec: Priced
    x: Tensor
    quality: Tensor
    lmbda: Tensor
    metric: Distortion = MSE
    offset: tuple[int, int] = (0, 0)

    @property
    def pixels(self) -> int:
        """Pixels of one image, the factor between its bits and its bpp."""
        return self.x.shape[-2] * self.x.shape[-1]

    @torch.no_grad()
    def grid(self, latents: Latents) -> Latents:
        """Return the offsets of the writer's integer grid when these latents are coded."""
        return self.codec.grid(latents, self.quality)

    def rounded(self, latents: Latents) -> Latents:
        """Round latents on the writer's grid, to the nearest that a file can hold."""
        return rounded(latents, self.grid(latents))

    def distortion(self, latents: Latents) -> Tensor:
        """Decode latents and return their distortion (B,), differentiable.

        Pixels are clamped to [0, 1], as in a decoder. Padding has no distortion, so that its rate is free to shrink.
        """
        return self.metric(self.picture(latents), self.x)

    def picture(self, latents: Latents) -> Tensor:
        """Decode latents to x_hat (B, 3, H, W) in [0, 1], differentiable, without the padding."""
        return crop(self.codec.synthesise(latents, self.quality), *self.x.shape[-2:]).float().clamp(0, 1)

    @torch.no_grad()
    def fitted(self, plain: Latents) -> "Problem":
        """Return the problem with its metric fitted to the images by their plain latents, unless it was before."""
        if self.metric.is_fitted:
            return self
        return self._replace(metric=self.metric.fitted(self.x, self.picture(plain)))

    def price(self, latents: Latents, coded: Latents, grid_gradient: bool = False) -> tuple[Cost, Any, Latents]:
        """Compute the differentiable cost per image, the entropy parameters of y, and the bits of each latent.

        Args:
            latents: input of the decoder and of the context model, relaxed or rounded.
            coded: values whose bits are counted; equal to `latents`, unless the gradients through the two are wanted
                apart.
            grid_gradient: whether y keeps its symbol in the gradient, and moves with its grid.
        """
        mixture = self.codec.mixture(latents.y, latents.z, self.quality)
        y, y_coded = latents.y, coded.y
        if grid_gradient:
            y, y_coded = (self.with_grid_gradient(t, mixture) for t in (y, y_coded))
        bits = Latents(self.codec.y_bits(y_coded, mixture), self.codec.z_bits(coded.z, self.quality))
        bpp = (bits.y.sum((1, 2, 3)) + bits.z.sum((1, 2, 3))) / self.pixels
        distortion = self.distortion(latents._replace(y=y))
        return Cost(bpp + self.lmbda * distortion, bpp, distortion), mixture, bits

    def position_weights(self, y: Tensor) -> Tensor | float:
        """Average the metric's weights over the pixels of each position of y: (1, 1, h, w); 1 where all are alike.

        Exact pixels have no weight. A position decodes to pixels of those next to it, too, and shares their weights.
        """
        weight = 1.0 if self.metric.weight is None else self._pooled(self.metric.weight, y)
        if self.metric.exact is None:
            return weight
        seen = self._pooled((~self.metric.exact).float(), y)
        return weight * F.avg_pool2d(seen, 3, 1, 1, count_include_pad=False)

    def _pooled(self, pixels: Tensor, y: Tensor) -> Tensor:
        """Average a map of pixels (1, 1, H, W) over those of each position of y, repeated beyond its edges."""
        (left, top), (height, width) = self.offset, (Y_PIXELS * side for side in y.shape[-2:])
        inside = pixels[..., top : top + height, left : left + width]
        beyond = 0, width - inside.shape[-1], 0, height - inside.shape[-2]
        return F.avg_pool2d(F.pad(inside, beyond, mode="replicate"), Y_PIXELS)

    def with_grid_gradient(self, y: Tensor, mixture: Any) -> Tensor:
        """Return y with the gradient of y's grid, as of a y that keeps its symbol where z moves the grid."""
        if not self.codec.depends_on_z:
            return y
        shift = self.codec.shift(mixture)
        return y + (shift - shift.detach())

    def cost(self, latents: Latents) -> Cost:
        """Compute the differentiable cost of latents, per image."""
        return self.price(latents, latents)[0]


class Best(NamedTuple):
    """Rounded latents of the lowest cost seen, and that cost, per image."""

    latents: Latents
    cost: Cost


class Patience:
    """Early stopping: `spent` after `limit` checks in a row in which no image improved; 0 disables it."""

    def __init__(self, limit: int, best: Best) -> None:
        self.limit, self.stale, self.seen = limit, 0, best.cost.total.clone()

    def spent(self, best: Best) -> bool:
        """Count one check of the best; waits for the device, unless early stopping is disabled."""
        if not self.limit:
            return False
        self.stale = 0 if bool((best.cost.total < self.seen).any()) else self.stale + 1
        self.seen = best.cost.total.clone()  # a replayed CUDA graph overwrites the best in place
        return self.stale >= self.limit


def select(chosen: Tensor, new: Latents, old: Latents) -> Latents:
    """Select `new` for the images that `chosen` (B,) marks, `old` for the others."""
    return Latents(*(torch.where(chosen[:, None, None, None], n, o) for n, o in zip(new, old, strict=True)))


@torch.no_grad()
def priced(problem: Problem, latents: Latents) -> Best:
    """Pair rounded latents with their cost."""
    return Best(latents, problem.cost(latents))


def keep_better(best: Best, latents: Latents, cost: Cost) -> Best:
    """Keep, per image, the cheaper of two rounded latents; does not wait for the device."""
    better = cost.total < best.cost.total  # (B,); False for a NaN
    costs = (torch.where(better, n, o).detach() for n, o in zip(cost, best.cost, strict=True))
    return Best(select(better, latents, best.latents), Cost(*costs))


@torch.no_grad()
def keep_if_better(problem: Problem, best: Best, latents: Latents) -> Best:
    """Round latents, price them, and keep those of the images that improve on the best."""
    return keep_better(best, *priced(problem, problem.rounded(latents)))
