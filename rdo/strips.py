"""Large pictures in bounded memory: the codec's networks run strip by strip, and once more in the backward pass.

A latent is predicted from, and decodes to, a bounded neighbourhood. Rows begin..end computed from begin - halo ..
end + halo, cut where windows of attention are cut, are those of the whole picture to float rounding, and so are the
gradients. A strip keeps no activations (`torch.utils.checkpoint`); it is computed again when its gradient is asked for.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from codec.entropy import StepMixture
from codec.errors import ConfigError
from codec.interface import Latents, Priced
from codec.model import STRIDE, Codec
from rdo.config import RefineConfig

CELL = 16  # pixels of a latent's side
TEMPORARIES = 2.2  # what forward and backward need for a moment, for each byte kept between them: 1.7 to 2.2 measured
LATENTS = 12  # copies of y that a search holds beside


class Span(NamedTuple):
    """Rows of y: computed from low..high, kept from begin..end."""

    low: int
    begin: int
    end: int
    high: int

    def keep(self, x: Tensor, dim: int, scale: int = 1) -> Tensor:
        """What counts of a result for low..high, with `scale` rows for each of y."""
        return x.narrow(dim, scale * (self.begin - self.low), scale * (self.end - self.begin))


@dataclass(frozen=True)
class Strips:
    """A codec that works on strips of `rows` rows of y, with `halo` rows above and below; both fit whole windows."""

    codec: Codec
    rows: int
    halo: int
    z_shows = False

    def grid(self, latents: Latents, quality: Tensor) -> Latents:
        """As `Codec.grid`."""
        return self.codec.grid(latents, quality)

    def shift(self, mixture: StepMixture) -> Tensor:
        """As `Codec.shift`."""
        return self.codec.shift(mixture)

    def synthesise(self, latents: Latents, quality: Tensor) -> Tensor:
        """As `Codec.synthesise`, which looks at y alone."""
        y_hat, z_hat = latents

        def strip(y: Tensor, span: Span) -> Tensor:
            return span.keep(self.codec.synthesise(Latents(y, z_hat), quality), 2, CELL)

        return torch.cat([_again(strip, y_hat[:, :, s.low : s.high], s) for s in self._spans(y_hat)], 2)

    def mixture(self, y_hat: Tensor, z_hat: Tensor, quality: Tensor) -> StepMixture:
        """As `Codec.mixture`."""

        def strip(y: Tensor, z: Tensor, span: Span) -> StepMixture:
            return StepMixture(*(span.keep(t, 2) for t in self.codec.mixture(y, z, quality)))

        parts = []
        for s in self._spans(y_hat):
            z = z_hat[:, :, s.low // 4 : -(-s.high // 4)]
            parts.append(_again(strip, y_hat[:, :, s.low : s.high], z, s))
        return StepMixture(*(torch.cat(t, 2) for t in zip(*parts, strict=True)))

    def y_bits(self, y: Tensor, mixture: StepMixture) -> Tensor:
        """As `Codec.y_bits`."""

        def strip(y: Tensor, *part: Tensor) -> Tensor:
            return self.codec.y_bits(y, StepMixture(*part))

        spans = self._spans(y)
        parts = [_again(strip, *(t[:, :, s.begin : s.end] for t in (y, *mixture))) for s in spans]
        return torch.cat(parts, 2)

    def z_bits(self, z: Tensor, quality: Tensor) -> Tensor:
        """As `Codec.z_bits`."""
        return self.codec.z_bits(z, quality)

    def _spans(self, y: Tensor) -> Iterator[Span]:
        height = y.shape[2]
        for begin, end in pairwise([*range(0, height, self.rows), height]):
            yield Span(max(0, begin - self.halo), begin, end, min(height, end + self.halo))


def _again(function: Callable[..., Any], *inputs: Any) -> Any:
    return checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)


def bounded(codec: Priced, shape: torch.Size, config: RefineConfig) -> Priced:
    """The codec, or strips of it where images (B, 3, H, W) would need more memory than `config` lets them.

    Raises:
        ConfigError: not even the narrowest strips fit, or the codec is another's, which is not cut.
    """
    memory_gib = config.memory_gib
    if not isinstance(codec, Codec):
        if memory_gib is not None:
            raise ConfigError("--memory-limit: only our own models are refined in strips: leave it out")
        return codec
    window = codec.config.window
    images, height, width = shape[0], *(-(-side // STRIDE) * STRIDE for side in shape[2:])
    row_pixels = images * width * CELL
    height //= CELL
    if memory_gib is None and height * row_pixels <= config.strip_pixels:
        return codec
    if memory_gib is None:
        return Strips(codec, max(1, config.strip_pixels // row_pixels // window) * window, halo_rows(codec))
    free = memory_gib * 2**30 - in_use(codec)
    state = LATENTS * 4 * codec.config.latent / CELL**2
    whole, between = (TEMPORARIES * kept_bytes(way) + state for way in (codec, Strips(codec, window, 0)))
    if whole * height * row_pixels <= free:
        return codec
    halo = halo_rows(codec)
    rows = int((free - between * height * row_pixels) / (whole * row_pixels)) - 2 * halo
    if rows < window:
        least = in_use(codec) + between * height * row_pixels + whole * row_pixels * (window + 2 * halo)
        raise ConfigError(f"--memory-limit {memory_gib:g}: these pixels need at least {least / 2**30:.1f} GiB")
    return Strips(codec, rows // window * window, halo)


def in_use(codec: Codec) -> int:
    """Bytes that the process, on a GPU its tensors, take now."""
    device = next(codec.parameters()).device
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return int(psutil.Process().memory_info().rss)


def kept_bytes(codec: Codec | Strips) -> float:
    """Bytes for each pixel that rate and reconstruction keep for their backward pass, weights aside."""
    own = codec.codec if isinstance(codec, Strips) else codec
    weights = {t.untyped_storage().data_ptr() for t in own.state_dict().values()}
    seen: dict[int, Tensor] = {}

    def count(tensor: Tensor) -> Tensor:
        seen[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    latents, quality = _probe(own, 2 * own.config.window)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        mixture = codec.mixture(*latents, quality)
        results = [*mixture, codec.y_bits(latents.y, mixture), codec.synthesise(latents, quality)]
    seen.update({t.untyped_storage().data_ptr(): t for t in results})
    total = sum(t.untyped_storage().nbytes() for at, t in seen.items() if at not in weights)
    return total / (latents.y.shape[2] * latents.y.shape[3] * CELL**2)


def halo_rows(codec: Codec) -> int:
    """How many rows of y away a latent matters to a reconstruction or a prediction, by gradient; in whole windows."""
    window = codec.config.window
    reach = window
    while True:
        latents, quality = _probe(codec, 2 * reach + window)
        mixture = codec.mixture(*latents, quality)
        middle = slice(reach, reach + window)
        picture = codec.synthesise(latents, quality)[:, :, CELL * reach : CELL * (reach + window)]
        asked = torch.cat([t.flatten() for t in (*(t[:, :, middle] for t in mixture), picture)])
        total = (asked * torch.rand_like(asked)).sum()
        slopes = torch.autograd.grad(total, latents)
        felt = [g.abs().amax((0, 1, 3)).repeat_interleave(s).nonzero() for g, s in zip(slopes, (1, 4), strict=True)]
        first, last = min(int(f.min()) for f in felt), max(int(f.max()) for f in felt)
        halo = max(reach - first, last + 1 - reach - window)
        if halo < reach:
            return -(-halo // window) * window
        reach *= 2


def _probe(codec: Codec, rows: int) -> tuple[Latents, Tensor]:
    """Random latents of a picture one window wide, `rows` rows of y high."""
    device = next(codec.parameters()).device
    generator = torch.Generator(device).manual_seed(0)
    config, columns = codec.config, codec.config.window
    shapes = (config.latent, rows, columns), (config.hyper_width, rows // 4, columns // 4)
    drawn = (2 * torch.randn(1, *shape, generator=generator, device=device) for shape in shapes)
    return Latents(*(v.requires_grad_() for v in drawn)), torch.full((1,), 4.0, device=device)
