"""Plain encoding: pixels to the bytes of a file, by one pass of the networks, or exactly where that costs less.

The invariant: under `auto` no file costs more than the plain one of the networks, nor than the lossless one, so that
none is larger than the picture's lossless WebP and a header.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from codec.architecture import MS_SSIM_SIDE_MIN
from codec.bitstream.boxes import Box
from codec.bitstream.container import check_size
from codec.bitstream.exact import encode_exact, pack_exact
from codec.bitstream.tiles import TILE
from codec.coding import coding_arithmetic, plain_latents, shown, write
from codec.exact_choice import (
    Costs,
    ExactMode,
    block_errors,
    block_sums,
    choose_blocks,
    hoped_costs,
    may_pay,
    plain_costs,
)
from codec.images.fill import filled
from codec.images.lossless import Effort
from codec.images.mosaic import BLOCK, Mask, mask_shape, pixel_mask
from codec.images.pixels import Pixels, crop, from_tensor, to_tensor
from codec.interface import AnyCodec, Latents
from codec.metrics.distortion import image_distortion
from codec.metrics.psnr import mse
from codec.tiling import plain_latents_of, tile_side

ASSUMED = 1.5  # distortion for each bit of a plain encoding, in bits, where it is not measured: 0.4 to 1.2 on photos


class ExactPlain(NamedTuple):
    """Exact section of a picture, and the plain latents of the rest; None where there is no rest."""

    section: bytes
    latents: Latents | None


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
        ConfigError: a quality that the codec does not have.
        BitstreamError: the picture or the boxes are larger than the format holds.
    """
    width, height = pixels.width, pixels.height
    tile = tile_side(codec, width, height, tile)
    quality = codec.default_quality if quality is None else quality
    level = codec.level(quality)
    check_size(width, height, tile)

    def file(plain: ExactPlain) -> bytes:
        section, latents = plain
        return write(
            codec,
            latents,
            width=width,
            height=height,
            quality=quality,
            grey=pixels.grey,
            tile=tile,
            exact=section,
            boxes=boxes,
        )

    if exact == "all":
        return file(ExactPlain(whole_section(pixels), None))
    with coding_arithmetic():
        latents = plain_latents_of(codec, pixels, level, tile)
    plain = ExactPlain(b"", latents)
    data = file(plain)
    hoped = hoped_costs(pixels) if exact == "auto" else None
    if hoped is None or not _worth_decoding(codec, pixels, latents, level, hoped=hoped, file_bytes=len(data)):
        return data
    lmbda_pixels = codec.lmbda_of(quality) * width * height

    def cost(plain: ExactPlain) -> float:
        data = file(plain)
        return 8 * len(data) + lmbda_pixels * _distortion(codec, pixels, shown(codec, plain.latents, data))

    def made(mask: Mask, effort: Effort) -> ExactPlain:
        return exact_plain(codec, pixels, mask, level, tile=tile, effort=effort)

    decoded = shown(codec, latents, data)
    errors, distortion_bits = block_errors(pixels, decoded), lmbda_pixels * _distortion(codec, pixels, decoded)
    costs = plain_costs(latents.y, len(data), errors, distortion_bits)
    if not may_pay(hoped, costs):
        return data
    choice = choose_blocks(pixels, costs, hoped, lambda mask: cost(made(mask, "quick")))
    tried = [plain]
    if choice.mask is not None and not choice.mask.all():
        tried.append(made(choice.mask, "good"))
    if choice.whole_close:
        tried.append(ExactPlain(whole_section(pixels), None))
    return file(min(tried, key=cost))


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


def whole_section(pixels: Pixels, effort: Effort = "best") -> bytes:
    """Return the exact section of a whole picture."""
    return pack_exact(encode_exact(pixels, np.ones(mask_shape(pixels.width, pixels.height), dtype=bool), effort))


def _distortion(codec: AnyCodec, original: Pixels, decoded: Pixels) -> float:
    """Return the distortion that the codec was trained for; the mse where a picture is too small for MS-SSIM."""
    if codec.distortion == "mse" or min(original.width, original.height) < MS_SSIM_SIDE_MIN:
        return float(block_errors(original, decoded).sum()) / (original.width * original.height)
    with torch.no_grad():
        return float(image_distortion(to_tensor(decoded), to_tensor(original), codec.distortion))


def _worth_decoding(
    codec: AnyCodec, pixels: Pixels, latents: Latents, level: Tensor, *, hoped: Costs, file_bytes: int
) -> bool:
    """Tell whether exact blocks may pay, by an assumed distortion, or by that of the strongest colours.

    Networks code photographs as well as lmbda asks for, but may stray from colours that photographs hardly have.
    """
    usual = plain_costs(latents.y, file_bytes, np.zeros(hoped.shape), 8 * ASSUMED * file_bytes)
    if may_pay(hoped, usual):
        return True
    lmbda = codec.lmbda_of(float(level))
    distortion_bits = lmbda * _mse_of_strongest(codec, pixels, level) * pixels.width * pixels.height
    return may_pay(hoped, plain_costs(latents.y, file_bytes, np.zeros(hoped.shape), distortion_bits))


def _mse_of_strongest(codec: AnyCodec, pixels: Pixels, level: Tensor) -> float:
    """Return the mse of the block of the most saturated colours and its neighbours, coded as a picture of their own."""
    saturation = block_sums(np.ptp(pixels.data, axis=-1))
    row, column = np.unravel_index(int(saturation.argmax()), saturation.shape)
    around = (slice(max(0, BLOCK * (int(at) - 1)), BLOCK * (int(at) + 2)) for at in (row, column))
    part = Pixels(pixels.data[tuple(around)], pixels.grey)
    with coding_arithmetic():
        x_hat = codec.synthesise(plain_latents(codec, to_tensor(part).to(level.device), level), level)
    decoded = from_tensor(crop(x_hat, part.height, part.width), part.grey)
    return mse(part, decoded)
