"""Plain encoding: pixels to the bytes of a file, by one pass of the networks, or exactly where that costs less.

The invariant: under `auto` no file costs more than the plain one of the networks, nor than the lossless one, so that
none is larger than the picture's lossless WebP and a header.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from codec.arithmetic import coding_arithmetic
from codec.bitstream.boxes import Box
from codec.bitstream.container import HEADER_BYTES_TILES, INDEX_BYTES, check_size
from codec.bitstream.exact import encode_exact, pack_exact
from codec.bitstream.tiles import TILE, tiles_of
from codec.coding import plain_latents, shown, write
from codec.exact_choice import (
    Costs,
    ExactMode,
    block_errors,
    block_sums,
    check_mode,
    choose_blocks,
    hoped_costs,
    may_pay,
    plain_costs,
)
from codec.images.fill import filled
from codec.images.lossless import Effort
from codec.images.mosaic import BLOCK, Mask, block_at, mask_shape, pixel_mask
from codec.images.pixels import Pixels, to_tensor
from codec.interface import AnyCodec, Latents, rate
from codec.latents import tile_latents
from codec.metrics.distortion import image_distortion, is_too_small
from codec.tiling import pixels_of, plain_latents_of, tile_side, to_streams


class ExactPlain(NamedTuple):
    """Exact section of a picture, and the plain latents of the rest; None where there is no rest."""

    section: bytes
    latents: Latents | None


class Estimate(NamedTuple):
    """Estimate of a file with some exact blocks, beside plain latents.

    Attributes:
        section_bits: of its exact section.
        learned_bits_est: of the rest of the file.
        decoded: pixels that it decodes to.
    """

    section_bits: float
    learned_bits_est: float
    decoded: Pixels


def encode(
    codec: AnyCodec,
    pixels: Pixels,
    quality: float | None = None,
    *,
    exact: ExactMode = "auto",
    tile: int = TILE,
    boxes: tuple[Box, ...] = (),
) -> bytes:
    """Encode an 8-bit picture plainly, in one forward pass and without refinement, and return the file's bytes.

    Args:
        quality: None takes the codec's default.
        exact: `auto` stores 64 px blocks losslessly where that costs less, as in drawings and text; `all` makes a
            lossless file, `never` leaves all to the networks.
        tile: side in pixels of the tiles that a large picture is cut into, a multiple of 64; 0 cuts none.
        boxes: typed data besides the picture.

    Raises:
        ConfigError: a quality that the codec does not have, or no such mode.
        BitstreamError: the picture or the boxes are larger than the format holds.
    """
    check_mode(exact)
    tile = tile_side(codec, pixels.width, pixels.height, tile)
    quality = codec.default_quality if quality is None else quality
    task = _Task(codec, pixels, quality, codec.level(quality), tile, boxes)
    check_size(pixels.width, pixels.height, tile)
    if exact == "all":
        return task.file(ExactPlain(whole_section(pixels), None))
    with coding_arithmetic():
        latents = plain_latents_of(codec, pixels, task.level, tile)
    data = task.file(ExactPlain(b"", latents))
    return data if exact == "never" else _cheapest(task, latents, data)


class _Priced(NamedTuple):
    """Bytes of a file, and its cost in bits."""

    data: bytes
    cost: float


@dataclass(frozen=True)
class _Task:
    """Picture to be encoded at a quality, and how: the arguments of `encode`, those left out settled."""

    codec: AnyCodec
    pixels: Pixels
    quality: float
    level: Tensor
    tile: int
    boxes: tuple[Box, ...]

    @property
    def lmbda_pixels(self) -> float:
        """Bits of the picture that a unit of distortion costs."""
        return self.codec.lmbda_of(self.quality) * self.pixels.width * self.pixels.height

    def file(self, plain: ExactPlain) -> bytes:
        """Return the bytes of a file."""
        return write(
            self.codec,
            plain.latents,
            width=self.pixels.width,
            height=self.pixels.height,
            quality=self.quality,
            grey=self.pixels.grey,
            tile=self.tile,
            exact=plain.section,
            boxes=self.boxes,
        )

    def priced(self, plain: ExactPlain) -> _Priced:
        """Return a file and its cost."""
        data = self.file(plain)
        return _Priced(data, 8 * len(data) + self.distortion_bits(shown(self.codec, plain.latents, data)))

    def cost_est(self, mask: Mask) -> float:
        """Estimate the cost in bits of the file whose blocks are exact where a mask says so."""
        found = estimate(self.codec, self.pixels, mask, self.level, tile=self.tile)
        return found.section_bits + found.learned_bits_est + self.distortion_bits(found.decoded)

    def distortion_bits(self, decoded: Pixels) -> float:
        """Return in bits the cost of the distortion that the codec was trained for; of small pictures it is the mse."""
        original = self.pixels
        metric = self.codec.distortion
        if metric == "mse" or is_too_small(min(original.width, original.height), metric):
            distortion = float(block_errors(original, decoded).sum()) / (original.width * original.height)
        else:
            with torch.no_grad():
                distortion = float(image_distortion(to_tensor(decoded), to_tensor(original), metric))
        return self.lmbda_pixels * distortion


def _cheapest(task: _Task, latents: Latents, data: bytes) -> bytes:
    """Return the file that costs least: the plain one of these latents, one with some blocks exact, or with all."""
    codec, pixels, level = task.codec, task.pixels, task.level
    hoped = hoped_costs(pixels)
    if not worth_a_look(codec, pixels, hoped, level, codec.lmbda_of(task.quality)):
        return data
    decoded = shown(codec, latents, data)
    costs = plain_costs(latents.y, len(data), block_errors(pixels, decoded), task.distortion_bits(decoded))
    if not may_pay(hoped, costs):
        return data
    choice = choose_blocks(pixels, costs, hoped, task.cost_est)
    tried = [_Priced(data, costs.total)]
    if choice.mask is not None and not choice.mask.all():
        tried.append(task.priced(exact_plain(codec, pixels, choice.mask, level, tile=task.tile, effort="good")))
    if choice.whole_close:
        tried.append(task.priced(ExactPlain(whole_section(pixels), None)))
    return min(tried, key=lambda each: each.cost).data


def exact_plain(codec: AnyCodec, pixels: Pixels, mask: Mask, level: Tensor, *, tile: int, effort: Effort) -> ExactPlain:
    """Encode some blocks of a picture exactly, and the others plainly, beside a smooth filling of the exact ones.

    Args:
        mask: (rows, columns) of 64 px blocks, true for those to store exactly.
        tile: side of the tiles, as `tile_side` returns it.
        effort: of the lossless coder.
    """
    section = pack_exact(encode_exact(pixels, mask, effort))
    if mask.all():
        return ExactPlain(section, None)
    rest = filled(pixels, pixel_mask(mask, pixels.width, pixels.height))
    with coding_arithmetic():
        return ExactPlain(section, plain_latents_of(codec, rest, level, tile))


def estimate(codec: AnyCodec, pixels: Pixels, mask: Mask, level: Tensor, *, tile: int) -> Estimate:
    """Estimate the file of a picture some of whose blocks are exact; bits of the others are the model's own estimate.

    A codec whose entropy coder is quick codes them instead.

    Args:
        mask: (rows, columns) of 64 px blocks, true for exact ones.
        tile: side of the tiles, as `tile_side` returns it.
    """
    section, latents = exact_plain(codec, pixels, mask, level, tile=tile, effort="quick")
    size = pixels.width, pixels.height
    tiles = tiles_of(*size, tile)
    overhead = 8.0 * (HEADER_BYTES_TILES + INDEX_BYTES * len(tiles))
    if latents is None:
        return Estimate(8.0 * len(section), overhead, pixels)
    with coding_arithmetic():
        if codec.slow_coder:
            coded = (part for part in tile_latents(latents, *size, tile) if any(bool(v.any()) for v in part))
            bits = sum(float(sum(rate(codec, part, level))) for part in coded)
        else:
            bits = 32.0 * sum(len(each.words) for each in to_streams(codec, latents, level, tiles, may_be_empty=True))
        decoded = pixels_of(codec, latents, level, pixels, tile)
    np.copyto(decoded.data, pixels.data, where=pixel_mask(mask, *size)[..., None])
    return Estimate(8.0 * len(section), overhead + bits, decoded)


def whole_section(pixels: Pixels, effort: Effort = "best") -> bytes:
    """Return the exact section of a whole picture."""
    return pack_exact(encode_exact(pixels, np.ones(mask_shape(pixels.width, pixels.height), dtype=bool), effort))


def worth_a_look(codec: AnyCodec, pixels: Pixels, hoped: Costs, level: Tensor, lmbda: float) -> bool:
    """Tell whether exact blocks may pay, by two blocks coded as pictures of their own; hardly ever on photographs.

    One is the block that is simplest to store exactly, the other that of the strongest colours, as networks that saw
    photographs alone may stray from such colours.

    Args:
        hoped: of the picture (`codec.exact_choice.hoped_costs`).
        level: (1,), quality.
        lmbda: weight of the mse.
    """
    red, green, blue = (pixels.data[..., channel] for channel in range(3))
    strength = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    places = [int(hoped.argmin()), int(block_sums(strength).argmax())]
    x = torch.cat([to_tensor(Pixels(block_at(pixels, place, hoped.shape[1]), pixels.grey)) for place in places])
    x, levels = x.to(level.device), level.expand(len(x))
    with coding_arithmetic():
        latents = plain_latents(codec, x, levels)
        x_hat = codec.synthesise(latents, levels).clamp(0, 1)[..., :BLOCK, :BLOCK]
        y_bits, z_bits = rate(codec, latents, levels)
        errors = image_distortion(x_hat, x, "mse")
    learned = y_bits + z_bits + lmbda * errors * BLOCK**2
    return any(float(cost) > hoped.flat[place] for cost, place in zip(learned, places, strict=True))
