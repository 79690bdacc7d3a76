"""Exact blocks: 64 px blocks of a picture whose pixels a file holds losslessly, as a section of bytes beside its stream.

    offset  bytes  content (little-endian)
    0       1      kind: 0 the whole picture, 1 some blocks with a plain bitmap, 2 some blocks with a deflated one
    1       n      kind 0: a lossless WebP stream (`codec.images.mosaic`) of the picture
            1      kinds 1 and 2: blocks in a row of the mosaic, 1..255
            2      kind 2: bytes of the bitmap; of a plain one they follow from the picture's size
            n      bitmap: a bit for each block, row by row, the highest bit of a byte first, padded with zeros;
                   if deflated, without zlib's header, and each row after the first as its difference to the one before
            4 ...  bytes of each sheet but the last
            n      sheets: lossless WebP streams

The chosen blocks, row by row, fill the mosaic row by row. Where it is higher than 255 blocks it continues on another
sheet, each but the last full. Blocks that the picture's edge cuts repeat their last column and row; cells that no block
fills have any colour.

The invariant: `unpack_exact` returns what `pack_exact` was given, or raises before memory is taken for any pixels.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codec.architecture import STRIDE
from codec.errors import BitstreamError
from codec.images.mosaic import WEBP_SIDE_MAX, lossless_size, read_lossless, write_lossless
from codec.images.pixels import Pixels, Samples

BLOCK = STRIDE  # side of a block, in pixels
CELLS_MAX = WEBP_SIDE_MAX // BLOCK  # along a side of a sheet
WHOLE, PLAIN, DEFLATED = range(3)
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ExactBlocks:
    """Exact blocks of a picture.

    Attributes:
        mask: (rows, columns) of 64 px blocks, true where exact; of a section some are.
        columns: blocks in a row of the mosaic; 0 is the whole picture as it is.
        sheets: lossless WebP streams.
    """

    mask: Mask
    columns: int
    sheets: tuple[bytes, ...]


def mask_shape(width: int, height: int) -> tuple[int, int]:
    """Return the rows and columns of blocks of a picture of width x height pixels."""
    return -(-height // BLOCK), -(-width // BLOCK)


def encode_exact(pixels: Pixels, mask: Mask, quick: bool = False) -> ExactBlocks:
    """Encode the blocks of a picture that `mask` marks, at least one, with the mosaic that takes the fewest bytes.

    Args:
        quick: whether to save time rather than bytes.
    """
    if mask.all() and max(pixels.width, pixels.height) <= WEBP_SIDE_MAX:
        return ExactBlocks(mask, 0, (write_lossless(pixels.data, pixels.grey, quick),))
    tried = (_mosaic(pixels, mask, columns, quick) for columns in _mosaic_columns(mask))
    return min(tried, key=lambda each: sum(map(len, each.sheets)))


def pack_exact(exact: ExactBlocks) -> bytes:
    """Return the bytes of a section."""
    if not exact.columns:
        return bytes([WHOLE]) + exact.sheets[0]
    plain, deflated = np.packbits(exact.mask).tobytes(), _deflate(exact.mask)
    if len(plain) <= len(deflated) + 2 or len(deflated) >= 1 << 16:
        head = bytes([PLAIN, exact.columns]) + plain
    else:
        head = bytes([DEFLATED, exact.columns]) + len(deflated).to_bytes(2, "little") + deflated
    lengths = (len(sheet).to_bytes(4, "little") for sheet in exact.sheets[:-1])
    return head + b"".join(lengths) + b"".join(exact.sheets)


def unpack_exact(section: bytes, width: int, height: int) -> ExactBlocks:
    """Return the exact blocks of a section of a picture of width x height pixels, their streams not yet decoded.

    Raises:
        BitstreamError: bytes that no section has, or sheets of other sizes than the bitmap asks for.
    """
    rows, columns = shape = mask_shape(width, height)
    kind, rest = section[:1], section[1:]
    if kind == bytes([WHOLE]):
        _check_sheet(rest, width, height)
        return ExactBlocks(np.ones(shape, dtype=bool), 0, (rest,))
    across, bits = rest[0] if rest else 0, -(-rows * columns // 8)
    if kind == bytes([PLAIN]):
        packed, rest = rest[1 : 1 + bits], rest[1 + bits :]
        mask = _unpacked(packed, shape)
    elif kind == bytes([DEFLATED]):
        end = 3 + int.from_bytes(rest[1:3], "little")
        mask, rest = _inflate(rest[3:end], shape), rest[end:]
    else:
        raise BitstreamError(f"exact blocks of kind {kind.hex() or 'none'}: this program reads 00 to 02: update it")
    if not 1 <= across <= CELLS_MAX or not mask.any():
        raise BitstreamError(f"exact blocks: {across} in a row, {mask.sum()} in all: the file is forged or damaged")
    sizes = list(_sheet_sizes(int(mask.sum()), across))
    lengths = np.frombuffer(rest[: 4 * (len(sizes) - 1)], dtype="<u4").astype(int)
    rest = rest[4 * (len(sizes) - 1) :]
    ends = np.cumsum(lengths)
    if len(lengths) < len(sizes) - 1 or (len(ends) and ends[-1] > len(rest)):
        raise BitstreamError("exact blocks: the sheets run past the end of the file: it is forged or damaged")
    sheets = tuple(rest[a:b] for a, b in zip([0, *ends], [*ends, len(rest)], strict=True))
    for sheet, size in zip(sheets, sizes, strict=True):
        _check_sheet(sheet, *size)
    return ExactBlocks(mask, across, sheets)


def paste(exact: ExactBlocks, pixels: Pixels) -> Pixels:
    """Return a picture with its exact blocks in place of what it has there.

    Raises:
        BitstreamError: a sheet is damaged.
    """
    if not exact.columns:
        samples = read_lossless(exact.sheets[0], pixels.width, pixels.height)
        return Pixels(_channels(samples, pixels.grey), pixels.grey)
    data, places = pixels.data.copy(), np.argwhere(exact.mask)
    per_sheet = exact.columns * CELLS_MAX
    sizes = _sheet_sizes(len(places), exact.columns)
    for number, (stream, size) in enumerate(zip(exact.sheets, sizes, strict=True)):
        sheet = _channels(read_lossless(stream, *size), pixels.grey)
        for index, place in enumerate(places[number * per_sheet : (number + 1) * per_sheet]):
            block = data[block_slices(place)]
            block[:] = sheet[block_slices(divmod(index, exact.columns))][: block.shape[0], : block.shape[1]]
    return Pixels(data, pixels.grey)


def block_slices(place: "tuple[int, int] | NDArray[np.int64]") -> tuple[slice, slice]:
    """Return the slices of rows and columns of pixels of the block at (row, column) of the grid."""
    row, column = (BLOCK * int(at) for at in place)
    return slice(row, row + BLOCK), slice(column, column + BLOCK)


def pixel_mask(mask: Mask, width: int, height: int) -> Mask:
    """Return a mask of blocks as a mask (H, W) of pixels."""
    return mask.repeat(BLOCK, 0).repeat(BLOCK, 1)[:height, :width]


def _mosaic(pixels: Pixels, mask: Mask, columns: int, quick: bool) -> ExactBlocks:
    """Encode the marked blocks with so many in a row of the mosaic."""
    places, sheets = np.argwhere(mask), []
    per_sheet = columns * CELLS_MAX
    for number, (width, height) in enumerate(_sheet_sizes(len(places), columns)):
        sheet = np.empty((height, width, 3), dtype=np.uint8)
        mine = places[number * per_sheet : (number + 1) * per_sheet]
        for index in range(height // BLOCK * columns):
            cell = sheet[block_slices(divmod(index, columns))]
            if index < len(mine):
                cell[:] = _whole_block(pixels.data[block_slices(mine[index])])
            else:  # after the last block
                cell[:] = sheet[height - BLOCK, BLOCK * (len(mine) - 1) % width]
        sheets.append(write_lossless(sheet, pixels.grey, quick))
    return ExactBlocks(mask, columns, tuple(sheets))


def _whole_block(block: Samples) -> Samples:
    """Return a block that the picture's edge may cut, with its last row and column repeated."""
    beyond = ((0, BLOCK - block.shape[0]), (0, BLOCK - block.shape[1]), (0, 0))
    return np.pad(block, beyond, mode="edge")


def _mosaic_columns(mask: Mask) -> list[int]:
    """Return the widths of mosaics to try: of the box round the blocks, which keeps a full box whole, and a square."""
    count, used = int(mask.sum()), np.flatnonzero(mask.any(0))
    box = int(used[-1] - used[0]) + 1
    return sorted({min(side, count, CELLS_MAX) for side in (box, round(count**0.5))})


def _sheet_sizes(count: int, columns: int) -> Iterator[tuple[int, int]]:
    """Return width and height in pixels of the sheets of `count` blocks, `columns` in a row."""
    while count > 0:
        rows = min(-(-count // columns), CELLS_MAX)
        yield BLOCK * columns, BLOCK * rows
        count -= rows * columns


def _check_sheet(stream: bytes, width: int, height: int) -> None:
    if lossless_size(stream) != (width, height):
        found = "{}x{}".format(*lossless_size(stream))
        raise BitstreamError(f"exact blocks: a sheet of {found} pixels instead of {width}x{height}: the file is forged")


def _channels(samples: Samples, grey: bool) -> Samples:
    """Return samples whose channels are equal if `grey`, whatever a forged sheet has."""
    return np.repeat(samples[..., :1], 3, axis=-1) if grey else samples


def _deflate(mask: Mask) -> bytes:
    changes = mask ^ np.concatenate([np.zeros_like(mask[:1]), mask[:-1]])
    deflater = zlib.compressobj(9, wbits=-15)
    return deflater.compress(np.packbits(changes).tobytes()) + deflater.flush()


def _inflate(deflated: bytes, shape: tuple[int, int]) -> Mask:
    inflater, size = zlib.decompressobj(wbits=-15), -(-shape[0] * shape[1] // 8)
    try:
        packed = inflater.decompress(deflated, size + 1)
    except zlib.error as error:
        raise BitstreamError(f"exact blocks: a damaged bitmap ({error})") from error
    if not inflater.eof or inflater.unused_data:
        raise BitstreamError("exact blocks: a bitmap of another size: the file is forged or damaged")
    return np.logical_xor.accumulate(_unpacked(packed, shape), axis=0)


def _unpacked(packed: bytes, shape: tuple[int, int]) -> Mask:
    count = shape[0] * shape[1]
    if len(packed) != -(-count // 8):
        raise BitstreamError("exact blocks: a bitmap of another size: the file is forged or damaged")
    bits = np.unpackbits(np.frombuffer(packed, np.uint8))
    if bits[count:].any():
        raise BitstreamError("exact blocks: bits beyond the picture: the file is forged or damaged")
    return bits[:count].astype(bool).reshape(shape)
