"""Pictures of several tiles through a codec: its networks and its entropy coder run on one tile at a time.

    pixels of a tile and its halo --analyse--> y, z --cut the halo off, round--> latents of the tile --> stream
    stream --> latents of the tile;  those of the tile and its halo --synthesise--> cut the halo off --> 8-bit pixels

The latents of a whole picture are those of its tiles side by side. Only the analysis and the synthesis look across the
edges of a tile, `tile_halo` pixels far; z, its prior and the context model of y do not. The invariant: what is computed
for a tile depends neither on which other tiles are wanted nor on the number of threads, so that a part of a picture is
the same, pixel for pixel, whether it is decoded alone or with the rest.
"""

from collections.abc import Callable
from itertools import chain, groupby
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec.allocator import release_memory
from codec.bitstream.container import Contents, Header, Stream, symbols_crc
from codec.bitstream.parallel import side_by_side, workers
from codec.bitstream.range_coder import SYMBOL_MAX
from codec.bitstream.symbols import DRIFT
from codec.bitstream.tiles import Rect, tile_count, tiles_of
from codec.errors import BitstreamError
from codec.images.pixels import Pixels, Samples, crop, from_tensor, pad, to_tensor
from codec.interface import AnyCodec, Latents, Refinable, rounded, unrounded_latents
from codec.latents import check_finite, cut, held, joined, part_of

Result = TypeVar("Result")

GREY_LEVEL = 128  # of pixels that are lost
BAND_ROUNDS = 2  # least tiles of a band, over those that are worked on at a time: so few wait for the last of them


def tile_side(codec: Refinable, width: int, height: int, tile: int) -> int:
    """Return the side of the tiles of a picture: `tile`, or 0 where the picture or the codec has but one."""
    return tile if codec.tile_halo and tile_count(width, height, tile) > 1 else 0


def tiles_needed(codec: Refinable, header: Header, wanted: Rect) -> Rect:
    """Return the rectangle of the tiles whose latents have any influence on a rectangle of a picture."""
    around = wanted.grown(2 * codec.tile_halo, header.width, header.height)
    needed = [tile for tile in tiles_of(header.width, header.height, header.tile) if tile.meets(around)]
    return bounds(needed)


def bounds(tiles: list[Rect]) -> Rect:
    """Return the rectangle that tiles make, of which the first is top left and the last bottom right."""
    return Rect(tiles[0].left, tiles[0].top, tiles[-1].right, tiles[-1].bottom)


def plain_latents_of(codec: Refinable, pixels: Pixels, level: Tensor, tile: int) -> Latents:
    """Return the rounded latents (batch 1) of plain encoding of a picture in tiles of a side, held if it has several.

    Raises:
        BitstreamError: latents of several tiles that are NaN or infinite.
    """

    def of_tile(rect: Rect) -> Latents:
        around = rect.grown(codec.tile_halo, pixels.width, pixels.height)
        x = to_tensor(Pixels(pixels.data[around.top : around.bottom, around.left : around.right], pixels.grey))
        latents = unrounded_latents(codec, pad(x.to(level.device), codec.stride), level)
        own = cut(latents, around, rect)
        return rounded(own, codec.grid(own, level))

    whole = Rect(0, 0, pixels.width, pixels.height)
    return _latents_of(codec, whole, of_tile, tiles_of(*whole.size, tile), torch.int16)


def decoded_picture(
    codec: AnyCodec,
    contents: Contents,
    level: Tensor,
    *,
    area: Rect,
    wanted: Rect,
    on_tile: Callable[[Rect, Latents], None],
) -> Samples:
    """Decode a rectangle of a file's picture, uint8 (H, W, 3); tiles that are damaged are grey.

    Tiles are shown a band at a time, as soon as the latents of the next band are known, and no more than three bands'
    latents are held.

    Args:
        contents: header and streams of the file.
        area: rectangle that `tiles_needed` returns; latents beyond it count as 0.
        wanted: rectangle to decode.
        on_tile: called with each tile of the area and its latents, those of damaged tiles 0, from any thread.

    Raises:
        BitstreamError: a stream that decodes differently on this machine.
    """
    header = contents.header
    tiles = tiles_of(header.width, header.height, header.tile)
    streams = dict(zip(tiles, contents.streams, strict=True))
    samples = _canvas(wanted, [tile for tile in tiles if streams[tile] is None])

    def decode(tile: Rect) -> Latents:
        latents = _decoded_tile(codec, contents, level, tile, streams[tile])
        on_tile(tile, latents)
        return latents if alone else held(latents)

    alone = len(tiles) == 1
    known: dict[Rect, Latents] = {}
    before: list[Rect] = []
    for band in [*_bands([tile for tile in tiles if tile.meets(area)], BAND_ROUNDS * workers(codec.device)), []]:
        known |= zip(band, _for_each(decode, band, codec, alone=alone), strict=True)
        if not alone:
            release_memory()  # as synthesis takes larger blocks: a tenth less for a picture of 48 megapixels
        intact = [tile for tile in before if streams[tile] is not None]
        _show(codec, known, level, header, tiles=intact, wanted=wanted, samples=samples)
        known = {tile: known[tile] for tile in before + band}
        before = band
    return samples


def picture_of(
    codec: Refinable, latents: Latents, level: Tensor, contents: Contents, *, area: Rect, wanted: Rect
) -> Samples:
    """Decode a rectangle of a picture, uint8 (H, W, 3), from latents of its tiles; those that are damaged are grey.

    Args:
        latents: of `area`.
        contents: header and streams of the file.
        area: rectangle that `tiles_needed` returns; latents beyond it count as 0.
        wanted: rectangle to decode.
    """
    header = contents.header
    tiles = tiles_of(header.width, header.height, header.tile)
    streams = dict(zip(tiles, contents.streams, strict=True))
    samples = _canvas(wanted, [tile for tile in tiles if streams[tile] is None])
    known = {tile: cut(latents, area, tile) for tile in tiles if tile.meets(area)}
    intact = [tile for tile in tiles if streams[tile] is not None]
    _show(codec, known, level, header, tiles=intact, wanted=wanted, samples=samples)
    return samples


def _canvas(wanted: Rect, lost: list[Rect]) -> Samples:
    """Return samples (H, W, 3) of a rectangle, grey where tiles are lost; others take memory once shown."""
    samples = np.empty((wanted.height, wanted.width, 3), np.uint8)
    for tile in lost:
        if tile.meets(wanted):
            samples[_window(tile.common(wanted), wanted)] = GREY_LEVEL
    return samples


def pixels_of(codec: Refinable, latents: Latents, level: Tensor, like: Pixels, tile: int) -> Pixels:
    """Decode latents of a whole picture as a reader of their file does.

    Args:
        like: picture of the same size, grey where the file shall be.
        tile: side of the tiles of the file, 0 for one.
    """
    whole = Rect(0, 0, like.width, like.height)
    header = Header(b"", *whole.size, float(level), like.grey, tile=tile)
    streams = tuple(Stream(np.zeros(0, np.uint32), 0) for _ in tiles_of(*whole.size, tile))
    samples = picture_of(codec, latents, level, Contents(header, streams), area=whole, wanted=whole)
    return Pixels(samples, like.grey)


def _show(
    codec: Refinable,
    known: dict[Rect, Latents],
    level: Tensor,
    header: Header,
    *,
    tiles: list[Rect],
    wanted: Rect,
    samples: Samples,
) -> None:
    """Decode tiles, from their own latents and those of their neighbours, and write what is wanted into `samples`."""

    def show(tile: Rect) -> None:
        around = tile.grown(codec.tile_halo, header.width, header.height)
        x_hat = codec.synthesise(joined(codec, known, around), level)
        x_hat = crop(x_hat[..., tile.top - around.top :, tile.left - around.left :], tile.height, tile.width)
        shown = tile.common(wanted)
        samples[_window(shown, wanted)] = from_tensor(x_hat, header.grey).data[_window(shown, tile)]

    alone = tile_count(header.width, header.height, header.tile) == 1
    _for_each(show, [tile for tile in tiles if tile.meets(wanted)], codec, alone=alone)


def _bands(tiles: list[Rect], least: int) -> list[list[Rect]]:
    """Return tiles, in rows, cut into bands of whole rows, with at least so many tiles but for the last."""
    rows = [list(row) for _, row in groupby(tiles, key=lambda tile: tile.top)]
    height = -(-least // len(rows[0]))
    return [list(chain(*rows[at : at + height])) for at in range(0, len(rows), height)]


def to_streams(codec: AnyCodec, latents: Latents, level: Tensor, tiles: list[Rect], may_be_empty: bool) -> list[Stream]:
    """Encode the latents of a picture, tile by tile.

    Args:
        tiles: of the picture.
        may_be_empty: whether a tile whose symbols are all 0 has no words.

    Raises:
        BitstreamError: latents that are NaN or infinite.
    """
    whole = Rect(0, 0, tiles[-1].right, tiles[-1].bottom)

    def stream(tile: Rect) -> Stream:
        own = part_of(latents, whole, tile)
        check_finite(own)
        if may_be_empty and codec.tile_halo and not any(bool(v.any()) for v in own):
            return Stream(np.zeros(0, np.uint32), _crc(codec, own, level))
        return Stream(codec.to_words(own, level), _crc(codec, own, level))

    return _for_each(stream, tiles, codec, alone=len(tiles) == 1)


def from_streams(codec: AnyCodec, contents: Contents, level: Tensor, area: Rect) -> Latents:
    """Decode the latents of an area of whole tiles; those of damaged tiles are 0.

    Raises:
        BitstreamError: a stream that decodes differently on this machine.
    """
    header = contents.header
    tiles = tiles_of(header.width, header.height, header.tile)
    streams = dict(zip(tiles, contents.streams, strict=True))

    def decoded(tile: Rect) -> Latents:
        return _decoded_tile(codec, contents, level, tile, streams[tile])

    return _latents_of(codec, area, decoded, [tile for tile in tiles if tile.meets(area)], torch.float32)


def _decoded_tile(codec: AnyCodec, contents: Contents, level: Tensor, tile: Rect, stream: Stream | None) -> Latents:
    """Decode the latents of one tile, which are 0 where its stream is damaged.

    Raises:
        BitstreamError: the stream decodes differently on this machine.
    """
    empty_is_zero = contents.has_extras and bool(codec.tile_halo)
    if stream is None or (empty_is_zero and not len(stream.words)):
        latents = Latents(*(torch.zeros(shape, device=codec.device) for shape in codec.latent_shapes(*tile.size)))
    else:
        codec.check_stream_length(len(stream.words), *tile.size)
        latents = codec.from_words(stream.words, *tile.size, level)
    if stream is not None and _crc(codec, latents, level) != stream.symbols_crc:
        raise BitstreamError(DRIFT)
    return latents


def _latents_of(
    codec: Refinable, area: Rect, work: Callable[[Rect], Latents], tiles: list[Rect], dtype: torch.dtype
) -> Latents:
    """Return the latents of an area, put together from those that `work` returns of each of its tiles.

    Args:
        dtype: of latents of several tiles.
    """
    if [area] == tiles:
        return _for_each(work, tiles, codec, alone=True)[0]
    shapes = codec.latent_shapes(*area.size)
    whole = Latents(*(torch.empty(shape, dtype=dtype, device=codec.device) for shape in shapes))

    def put(tile: Rect) -> None:
        for target, part in zip(cut(whole, area, tile), held(work(tile)), strict=True):
            target.copy_(part)

    _for_each(put, tiles, codec, alone=False)
    return whole


def _for_each(work: Callable[[Rect], Result], tiles: list[Rect], codec: Refinable, *, alone: bool) -> list[Result]:
    """Call `work` on tiles: one that is a whole picture has all threads, of others several at a time have one each."""
    return [work(tile) for tile in tiles] if alone else side_by_side(work, tiles, codec.device)


def _window(part: Rect, whole: Rect) -> tuple[slice, slice]:
    """Return the rows and columns of a part within the pixels of a whole."""
    rows = slice(part.top - whole.top, part.bottom - whole.top)
    return rows, slice(part.left - whole.left, part.right - whole.left)


def _crc(codec: AnyCodec, latents: Latents, level: Tensor) -> int:
    """Return the checksum of the symbols of z, then of y: the integers round(latent - grid)."""
    y, z = (_symbols(v - g) for v, g in zip(latents, codec.grid(latents, level), strict=True))
    return symbols_crc(z, y)


def _symbols(steps: Tensor) -> NDArray[np.int32]:
    return steps.round().clamp(-SYMBOL_MAX, SYMBOL_MAX).to(torch.int32).cpu().numpy()
