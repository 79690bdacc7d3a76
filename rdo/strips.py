"""Large pictures in bounded memory: the codec's networks run strip by strip, and once more in the backward pass.

A latent is predicted from, and decodes to, a bounded neighbourhood. Rows begin..end computed from begin - halo ..
end + halo, cut where windows of attention are cut, are those of the whole picture to float rounding, and so are the
gradients. A strip keeps no activations (`torch.utils.checkpoint`); it is computed again when its gradient is asked for.
"""

import ctypes
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import psutil
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from codec.architecture import STRIDE, Y_PIXELS
from codec.errors import ConfigError
from codec.interface import Latents, Priced, Refinable
from codec.networks.likelihoods import StepMixture
from rdo.config import RefineConfig

TEMPORARIES = 2.2  # what forward and backward need for a moment, for each byte kept between them: 1.7 to 2.2 measured
STRIP_PIXELS = 1 << 21
GPU_SHARE = 0.8  # of the free memory of a GPU, which others may want some of
LATENTS = 15  # copies of y that a search holds beside
LATENTS_DESCENT = 36  # that a descent does: its optimiser's, and all that relaxing needs to go back


class Span(NamedTuple):
    """Rows of y: computed from low..high, kept from begin..end."""

    low: int
    begin: int
    end: int
    high: int

    def keep(self, x: Tensor, dim: int, scale: int = 1) -> Tensor:
        """What counts of a result for low..high, with `scale` rows for each of y; a copy, for the rest to be freed."""
        return x.narrow(dim, scale * (self.begin - self.low), scale * (self.end - self.begin)).clone()


@dataclass(frozen=True)
class Strips:
    """A codec that works on strips of `rows` rows of y, with `halo` rows above and below; both fit whole windows."""

    codec: Refinable
    rows: int
    halo: int
    depends_on_z = False

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
            return span.keep(self.codec.synthesise(Latents(y, z_hat), quality), 2, Y_PIXELS)

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


@torch.enable_grad()
def bounded(codec: Refinable, shape: torch.Size, config: RefineConfig) -> Priced:
    """The codec, or strips of it where images (B, 3, H, W) would need more memory than `config` lets them.

    Raises:
        ConfigError: not even the narrowest strips fit, or the codec is another's, which is not cut.
    """
    memory_gib = config.memory_gib
    if not codec.strip_rows:
        if memory_gib is not None:
            raise ConfigError("--memory-limit: only our own models are refined in strips: leave it out")
        return codec
    window, device = codec.strip_rows, codec.device
    images, height, width = shape[0], *(-(-side // STRIDE) * STRIDE for side in shape[2:])
    row_pixels = images * width * Y_PIXELS
    height //= Y_PIXELS
    if memory_gib is None:
        most = strip_pixels(config, device)
        if height * row_pixels <= (STRIP_PIXELS if most == math.inf else most):
            return codec
        if most < math.inf:
            return Strips(codec, max(1, int(most) // row_pixels // window) * window, halo_rows(codec))
    release_memory()
    free = GPU_SHARE * free_on(device) if memory_gib is None else memory_gib * 2**30 - in_use(codec)
    copies = LATENTS if config.method == "rdoq" else LATENTS_DESCENT
    parts, state = kept_bytes(codec), copies * 4 * codec.latent_shapes(1, 1)[0][1] / Y_PIXELS**2
    if (TEMPORARIES * sum(parts) + state) * height * row_pixels <= free:
        return codec
    halo = halo_rows(codec)
    # of each row of latents: all of them between strips, and those of a strip for one part at a time
    between = (TEMPORARIES * sum(kept_bytes(Strips(codec, window, 0))) + state) * row_pixels
    within = TEMPORARIES * max(parts) * row_pixels
    fit, narrowest = int((free - between * height) / within), min(height, window + 2 * halo)
    if fit < narrowest:
        least = in_use(codec) + between * height + within * narrowest
        told = math.ceil(100 * least / 2**30 + 2) / 100  # for a process that holds a little more than this one
        limit = "the GPU" if memory_gib is None else f"--memory-limit {memory_gib:g}"
        raise ConfigError(f"{limit}: these pixels need at least {told:.2f} GiB")
    rows = height + window - 1 if fit >= height else fit - 2 * halo  # no strip is higher than the picture
    return Strips(codec, rows // window * window, halo)


def strip_pixels(config: RefineConfig, device: torch.device | str) -> float:
    """Pixels of all images together up to which they are refined whole; infinite where a GPU's memory decides."""
    if config.strip_pixels is not None:
        return config.strip_pixels
    return math.inf if torch.device(device).type == "cuda" else STRIP_PIXELS


def free_on(device: torch.device) -> int:
    """Bytes that this process could still take on a GPU."""
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + cached


def in_use(codec: Refinable) -> int:
    """Bytes that the process, on a GPU its tensors, take now."""
    device = codec.device
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return int(psutil.Process().memory_info().rss)


def release_memory() -> None:
    """Give memory that was freed back to the system, which a process may be told to keep (`jobs.cli.keep_memory`)."""
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):
        return  # another libc


def kept_bytes(codec: Refinable | Strips) -> tuple[float, ...]:
    """Bytes for each pixel that mixture, bits of y and picture keep for their backward passes, weights aside."""
    own = codec.codec if isinstance(codec, Strips) else codec
    counted = {t.untyped_storage().data_ptr() for t in own.state_dict().values()}
    tensors: list[Tensor] = []  # alive, so that no storage is counted for another

    def count(tensor: Tensor) -> Tensor:
        tensors.append(tensor.detach())  # a tensor itself would hold its graph, which holds this hook: a leak
        return tensors[-1]

    def new_bytes() -> int:
        new = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
        total = sum(size for at, size in new.items() if at not in counted)
        counted.update(new)
        return total

    latents, quality = _probe(own, 2 * own.strip_rows)
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        mixture = codec.mixture(*latents, quality)
        for out in mixture:
            count(out)
        parts = [new_bytes()]
        count(codec.y_bits(latents.y, mixture))
        parts.append(new_bytes())
        count(codec.synthesise(latents, quality))
        parts.append(new_bytes())
    return tuple(part / (latents.y.shape[2] * latents.y.shape[3] * Y_PIXELS**2) for part in parts)


def halo_rows(codec: Refinable) -> int:
    """How many rows of y away a latent matters to a reconstruction or a prediction, by gradient; in whole windows."""
    window = codec.strip_rows
    reach = window
    while True:
        latents, quality = _probe(codec, 2 * reach + window)
        mixture = codec.mixture(*latents, quality)
        middle = slice(reach, reach + window)
        picture = codec.synthesise(latents, quality)[:, :, Y_PIXELS * reach : Y_PIXELS * (reach + window)]
        asked = torch.cat([t.flatten() for t in (*(t[:, :, middle] for t in mixture), picture)])
        total = (asked * torch.rand_like(asked)).sum()
        slopes = torch.autograd.grad(total, latents)
        felt = [g.abs().amax((0, 1, 3)).repeat_interleave(s).nonzero() for g, s in zip(slopes, (1, 4), strict=True)]
        first, last = min(int(f.min()) for f in felt), max(int(f.max()) for f in felt)
        halo = max(reach - first, last + 1 - reach - window)
        if halo < reach:
            return -(-halo // window) * window
        reach *= 2


def _probe(codec: Refinable, rows: int) -> tuple[Latents, Tensor]:
    """Random latents of a picture one window wide, `rows` rows of y high."""
    device = codec.device
    generator = torch.Generator(device).manual_seed(0)
    shapes = codec.latent_shapes(Y_PIXELS * codec.strip_rows, Y_PIXELS * rows)
    drawn = (2 * torch.randn(shape, generator=generator, device=device) for shape in shapes)
    return Latents(*(v.requires_grad_() for v in drawn)), torch.full((1,), 4.0, device=device)
