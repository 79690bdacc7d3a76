"""Coding: pixels or latents to the bytes of a file and back, with every check, for any codec of `codec.interface`.

    encode: pixels -> latents -> write        write: header, the codec's streams and checksums of their symbols, exact
                                              blocks
    decode: read -> latents -> pixels         read: the latents that were written, or an error

The invariant: `read` returns the latents that `write` was given, on the writer's grid, or raises. The decoder network
runs in fp32; the codec itself decides in what precision its entropy parameters are computed.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from torch import Tensor

from codec.architecture import PIXELS_MAX, TILE_PIXELS_MAX, on_header_grid
from codec.arithmetic import coding_arithmetic
from codec.bitstream.boxes import Box
from codec.bitstream.container import Contents, Header, Stream, check_size, pack, unpack
from codec.bitstream.exact import exact_blocks, paste_exact, unpack_exact
from codec.bitstream.tiles import TILE, Rect, tiles_of
from codec.errors import BitstreamError, ConfigError
from codec.identity import model_id
from codec.images.mosaic import pixel_mask
from codec.images.pixels import Pixels, pad
from codec.interface import AnyCodec, Latents, Refinable, rounded, unrounded_latents
from codec.latents import cut, joined, no_latents, same_symbols
from codec.tiling import (
    bounds,
    decoded_picture,
    from_streams,
    picture_of,
    plain_latents_of,
    tile_side,
    tiles_needed,
    to_streams,
)

NO_STREAM = Stream(np.zeros(0, np.uint32), 0)  # of each tile where all blocks are exact


class Decoded(NamedTuple):
    """Contents of a file.

    Attributes:
        pixels: of the whole picture, or of the part that was asked for.
        latents: on the writer's grid (batch 1), of all tiles that were decoded; None where they were not kept.
        header: of the whole picture.
        boxes: typed data besides the picture.
        damage: of a salvaged file, what was lost, one text for each part.
    """

    pixels: Pixels
    latents: Latents | None
    header: Header
    boxes: tuple[Box, ...] = ()
    damage: tuple[str, ...] = ()


class Verified(NamedTuple):
    """Bytes of a file that decodes to the latents it was written from, and the pixels that decoding gave."""

    data: bytes
    pixels: Pixels


def encode(
    codec: AnyCodec,
    pixels: Pixels,
    quality: float | None = None,
    *,
    tile: int = TILE,
    boxes: tuple[Box, ...] = (),
) -> bytes:
    """Encode an 8-bit picture by the networks alone, in one forward pass, and return the file's bytes.

    `codec.encoding` stores exactly what costs less that way.

    Args:
        quality: None takes the codec's default.
        tile: side in pixels of the tiles that a large picture is cut into, a multiple of 64; 0 cuts none.
        boxes: typed data besides the picture.

    Raises:
        ConfigError: a quality that the codec does not have.
        BitstreamError: the picture or the boxes are larger than the format holds.
    """
    width, height = pixels.width, pixels.height
    tile = tile_side(codec, width, height, tile)
    check_size(width, height, tile)
    quality = codec.default_quality if quality is None else quality
    level = codec.level(quality)
    with coding_arithmetic():
        latents = plain_latents_of(codec, pixels, level, tile)
    return write(codec, latents, width=width, height=height, quality=quality, grey=pixels.grey, tile=tile, boxes=boxes)


def decode(
    codec: AnyCodec,
    data: bytes,
    *,
    crop: Rect | None = None,
    salvage: bool = False,
    pixels_max: int = PIXELS_MAX,
    keep_latents: bool = True,
) -> Decoded:
    """Decode the bytes of a file to pixels.

    Args:
        crop: rectangle to decode, of which only the tiles that it needs are read; None is the whole picture. The pixels
            are those of the whole picture.
        salvage: of a file of several tiles, decode those that are not damaged, and return what is lost in `damage`.
        pixels_max: pixels of the tiles to be decoded, for more of which no memory is taken.
        keep_latents: whether to return latents, which take more memory than pixels.

    Raises:
        BitstreamError: the bytes are no intact file of this model, or of too large a picture.
        ConfigError: the crop is not within the picture.
    """
    parts: dict[Rect, Latents] = {}
    decoded = _decode(
        codec, data, crop=crop, salvage=salvage, pixels_max=pixels_max,
        on_tile=parts.__setitem__ if keep_latents else lambda tile, latents: None,
    )  # fmt: skip
    return decoded._replace(latents=joined(codec, parts, bounds(sorted(parts)))) if keep_latents else decoded


def _decode(
    codec: AnyCodec,
    data: bytes,
    *,
    crop: Rect | None,
    salvage: bool,
    pixels_max: int,
    on_tile: Callable[[Rect, Latents], None],
) -> Decoded:
    """Decode the bytes of a file to pixels, and call `on_tile`, from any thread, with the latents of each tile."""
    contents = unpack(data, salvage)
    header, exact = contents.header, exact_blocks(contents)
    whole = Rect(0, 0, header.width, header.height)
    wanted = whole if crop is None else Rect(*crop)
    if not whole.contains(wanted):
        at = f"{wanted.width}x{wanted.height}+{wanted.left}+{wanted.top}"
        raise ConfigError(f"crop {at}: must lie within the picture, {header.width}x{header.height} pixels")
    writer, level = _writer(codec, header)
    area = tiles_needed(codec, header, wanted)
    _check_pixels(whole if exact and not exact.columns else area, pixels_max)
    if exact and exact.whole:
        on_tile(area, no_latents(codec, *area.size))
        samples = np.empty((wanted.height, wanted.width, 3), np.uint8)
    else:
        with coding_arithmetic():
            samples = decoded_picture(writer, contents, level, area=area, wanted=wanted, on_tile=on_tile)
    if exact:
        paste_exact(exact, samples, wanted, header.grey)
    return Decoded(Pixels(samples, header.grey), None, header, contents.boxes, contents.damage)


def write(
    codec: AnyCodec,
    latents: Latents | None,
    *,
    width: int,
    height: int,
    quality: float,
    grey: bool,
    tile: int = TILE,
    exact: bytes = b"",
    boxes: tuple[Box, ...] = (),
) -> bytes:
    """Encode rounded latents (batch 1) of a picture of width x height pixels, and return the file's bytes.

    Args:
        latents: None where all blocks are exact.
        tile: side in pixels of the tiles that a large picture is cut into, a multiple of 64; 0 cuts none.
        exact: section of exact blocks (`codec.bitstream.exact`).
        boxes: typed data besides the picture.

    Raises:
        ConfigError: a quality that the codec does not have, or latents that are not of this size.
        BitstreamError: latents that are NaN or infinite, or more pixels or data than the format holds.
    """
    if latents is None and width * height <= TILE_PIXELS_MAX:
        tile = 0  # which saves the index
    tile = tile_side(codec, width, height, tile)
    check_size(width, height, tile)
    tiles, level = tiles_of(width, height, tile), codec.level(quality)
    header = Header(model_id(codec), width, height, on_header_grid(quality), grey, codec.gain_profile, tile)
    if latents is None:
        return pack(Contents(header, (NO_STREAM,) * len(tiles), exact, boxes))
    shapes = codec.latent_shapes(width, height)
    if (tuple(latents.y.shape), tuple(latents.z.shape)) != shapes:
        raise ConfigError(
            f"latents {tuple(latents.y.shape)}, {tuple(latents.z.shape)} for an image that needs {shapes}"
        )
    codec.check_ready()
    with coding_arithmetic():
        streams = to_streams(codec, latents, level, tiles, bool(tile or exact or boxes))
    return pack(Contents(header, tuple(streams), exact, boxes))


def read(codec: AnyCodec, data: bytes, pixels_max: int = PIXELS_MAX) -> tuple[Header, Latents]:
    """Decode the bytes of a file to its header and its rounded latents (batch 1), after every check.

    The latents are in quantisation steps of `codec.with_gain_profile(header.gain_profile)`, whatever profile `codec`
    has. Where all blocks are exact they are zeros.

    Args:
        pixels_max: largest picture to take memory for.

    Raises:
        BitstreamError: the bytes are no intact file of this model, of too large a picture, or decode differently on
            this machine.
    """
    contents = unpack(data)
    whole = Rect(0, 0, contents.header.width, contents.header.height)
    _check_pixels(whole, pixels_max)
    writer, level = _writer(codec, contents.header)
    exact = exact_blocks(contents)
    if exact and exact.whole:
        return contents.header, no_latents(codec, *whole.size)
    with coding_arithmetic():
        latents = from_streams(writer, contents, level, whole)
    return contents.header, latents


def write_verified(
    codec: AnyCodec,
    latents: Latents | None,
    pixels: Pixels,
    quality: float,
    *,
    tile: int = TILE,
    exact: bytes = b"",
    boxes: tuple[Box, ...] = (),
) -> Verified:
    """Write the file of a picture's rounded latents and decode it from its bytes; arguments are those of `write`.

    Raises:
        ConfigError: a quality that the codec does not have.
        BitstreamError: decoding gives other latents, or other pixels in an exact block.
    """
    width, height, grey = pixels.width, pixels.height, pixels.grey
    data = write(
        codec, latents, width=width, height=height, quality=quality, grey=grey, tile=tile, exact=exact, boxes=boxes
    )
    whole = Rect(0, 0, width, height)

    def compare(tile: Rect, own: Latents) -> None:
        if latents is not None and not same_symbols(own, cut(latents, whole, tile)):
            raise BitstreamError("the written file decodes to other symbols: please report this picture and settings")

    decoded = _decode(codec, data, crop=None, salvage=False, pixels_max=width * height, on_tile=compare)
    if exact:
        kept = pixel_mask(unpack_exact(exact, width, height).mask, width, height)
        if not np.array_equal(decoded.pixels.data[kept], pixels.data[kept]):
            raise BitstreamError("the written file decodes to other exact blocks: please report this picture")
    return Verified(data, decoded.pixels)


def shown(codec: AnyCodec, latents: Latents | None, data: bytes) -> Pixels:
    """Return the pixels of a file that was written from these latents, without decoding its streams again."""
    contents = unpack(data)
    header, exact = contents.header, exact_blocks(contents)
    whole = Rect(0, 0, header.width, header.height)
    if latents is None:
        samples = np.empty((header.height, header.width, 3), np.uint8)
    else:
        level = codec.level(header.quality)
        with coding_arithmetic():
            samples = picture_of(codec, latents, level, contents, area=whole, wanted=whole)
    if exact:
        paste_exact(exact, samples, whole, header.grey)
    return Pixels(samples, header.grey)


def plain_latents(codec: Refinable, x: Tensor, level: Tensor) -> Latents:
    """Return the rounded latents of plain encoding of unpadded images x (B, 3, H, W) in [0, 1] at `level` (B,)."""
    latents = unrounded_latents(codec, pad(x, codec.stride), level)
    return rounded(latents, codec.grid(latents, level))


def _writer(codec: AnyCodec, header: Header) -> tuple[AnyCodec, Tensor]:
    """Return the codec with the gain profile that wrote a file, and the file's quality (1,).

    Raises:
        BitstreamError: another model wrote it.
    """
    codec.check_ready()
    if header.model_id != model_id(codec):
        raise BitstreamError(
            f"written by model {header.model_id.hex()}, this is {codec.config.name} {model_id(codec).hex()}: "
            "name the model that wrote it with --model"
        )
    if header.tile and not codec.tile_halo:
        raise BitstreamError(f"forged header: {codec.config.name} has no tiles")
    try:
        codec = codec.with_gain_profile(header.gain_profile)
        return codec, codec.level(header.quality)
    except ConfigError as error:
        raise BitstreamError(f"forged header: {error}") from error


def _check_pixels(area: Rect, pixels_max: int) -> None:
    """Raise where the tiles that are to be decoded are larger than a caller takes memory for."""
    if area.width * area.height > pixels_max:
        limit = f"{pixels_max / 1e6:g} megapixels"
        raise BitstreamError(f"{area.width}x{area.height} pixels: over {limit}: raise --max-megapixels, or --crop it")
