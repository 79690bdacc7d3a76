"""Strips: the codec's networks run on one horizontal strip of a large picture at a time, in bounded memory.

A latent is predicted from, and decodes to, a bounded neighbourhood. Rows begin..end computed from begin - halo ..
end + halo, with strips that begin at whole windows of the attention, equal those of the whole picture up to float
rounding, and so do the gradients. A strip keeps no activations (`torch.utils.checkpoint`): the backward pass computes
them again.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from codec.architecture import Y_PIXELS
from codec.interface import Latents, Refinable
from codec.networks.likelihoods import StepMixture

Z_ROWS = 4  # rows of y for each row of z


class Span(NamedTuple):
    """Rows of y of one strip: computed from low..high, of which begin..end are kept."""

    low: int
    begin: int
    end: int
    high: int

    def keep(self, x: Tensor, dim: int, scale: int = 1) -> Tensor:
        """Cut the halo off a result for low..high, which has `scale` rows for each of y; a copy, to free the rest."""
        return x.narrow(dim, scale * (self.begin - self.low), scale * (self.end - self.begin)).clone()


@dataclass(frozen=True)
class Strips:
    """Codec that decodes and prices latents strip by strip.

    Attributes:
        codec: codec to run on each strip.
        rows: rows of y in a strip, a multiple of the attention's window.
        halo: rows of y computed above and below a strip and cut off, a multiple of the window.
    """

    codec: Refinable
    rows: int
    halo: int
    depends_on_z = False

    def grid(self, latents: Latents, quality: Tensor) -> Latents:
        """Return the codec's grid, which is that of the whole picture."""
        return self.codec.grid(latents, quality)

    def shift(self, mixture: StepMixture) -> Tensor:
        """Return the offset of y's grid under these entropy parameters."""
        return self.codec.shift(mixture)

    def synthesise(self, latents: Latents, quality: Tensor) -> Tensor:
        """Decode y (B, M, h, w) to x_hat (B, 3, 16 h, 16 w), not clamped; the decoder does not depend on z."""
        y_hat, z_hat = latents

        def strip(y: Tensor, span: Span) -> Tensor:
            return span.keep(self.codec.synthesise(Latents(y, z_hat), quality), 2, Y_PIXELS)

        return torch.cat([_recomputed(strip, y_hat[:, :, s.low : s.high], s) for s in self._spans(y_hat)], 2)

    def mixture(self, y_hat: Tensor, z_hat: Tensor, quality: Tensor) -> StepMixture:
        """Predict the entropy parameters of all y."""

        def strip(y: Tensor, z: Tensor, span: Span) -> StepMixture:
            return StepMixture(*(span.keep(t, 2) for t in self.codec.mixture(y, z, quality)))

        parts = []
        for s in self._spans(y_hat):
            z = z_hat[:, :, s.low // Z_ROWS : -(-s.high // Z_ROWS)]
            parts.append(_recomputed(strip, y_hat[:, :, s.low : s.high], z, s))
        return StepMixture(*(torch.cat(t, 2) for t in zip(*parts, strict=True)))

    def y_bits(self, y: Tensor, mixture: StepMixture) -> Tensor:
        """Compute the bits of each y, which need no halo."""

        def strip(y: Tensor, *part: Tensor) -> Tensor:
            return self.codec.y_bits(y, StepMixture(*part))

        spans = self._spans(y)
        parts = [_recomputed(strip, *(t[:, :, s.begin : s.end] for t in (y, *mixture))) for s in spans]
        return torch.cat(parts, 2)

    def z_bits(self, z: Tensor, quality: Tensor) -> Tensor:
        """Compute the bits of each z, of the whole picture at once, as z is small."""
        return self.codec.z_bits(z, quality)

    def _spans(self, y: Tensor) -> Iterator[Span]:
        height = y.shape[2]
        for begin, end in pairwise([*range(0, height, self.rows), height]):
            yield Span(max(0, begin - self.halo), begin, end, min(height, end + self.halo))


def _recomputed(function: Callable[..., Any], *inputs: Any) -> Any:
    """Call a function whose activations are computed again in the backward pass."""
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)


def halo_rows(codec: Refinable) -> int:
    """Measure how many rows of y away a latent affects a reconstruction or a prediction, rounded up to whole windows.

    The gradient of random latents decides: rows where it is zero have no effect. The receptive field is measured
    in ever higher pictures, until it ends inside one.
    """
    window = codec.strip_rows
    reach = window
    while True:
        latents, quality = random_latents(codec, 2 * reach + window)
        mixture = codec.mixture(*latents, quality)
        middle = slice(reach, reach + window)
        picture = codec.synthesise(latents, quality)[:, :, Y_PIXELS * reach : Y_PIXELS * (reach + window)]
        outputs = torch.cat([t.flatten() for t in (*(t[:, :, middle] for t in mixture), picture)])
        gradients = torch.autograd.grad((outputs * torch.rand_like(outputs)).sum(), latents)
        rows_used = [
            g.abs().amax((0, 1, 3)).repeat_interleave(rows).nonzero()
            for g, rows in zip(gradients, (1, Z_ROWS), strict=True)
        ]
        first, last = min(int(rows.min()) for rows in rows_used), max(int(rows.max()) for rows in rows_used)
        halo = max(reach - first, last + 1 - reach - window)
        if halo < reach:
            return -(-halo // window) * window
        reach *= 2


def random_latents(codec: Refinable, rows: int) -> tuple[Latents, Tensor]:
    """Sample leaf latents of a picture one window wide and `rows` rows of y high, and a quality (1,)."""
    device = codec.device
    generator = torch.Generator(device).manual_seed(0)
    shapes = codec.latent_shapes(Y_PIXELS * codec.strip_rows, Y_PIXELS * rows)
    drawn = (2 * torch.randn(shape, generator=generator, device=device) for shape in shapes)
    return Latents(*(v.requires_grad_() for v in drawn)), torch.full((1,), 4.0, device=device)
