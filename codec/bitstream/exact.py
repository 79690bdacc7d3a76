"""Exact blocks: 64 px blocks whose pixels a file holds losslessly, as a section of bytes beside its streams.

    offset  bytes  content (little-endian)
    0       1      kind: 0 the whole picture, 1 some blocks with a plain bitmap, 2 some blocks with a deflated one
    1       n      kind 0: a lossless WebP stream (`codec.images.lossless`) of the picture
            1      kinds 1 and 2: blocks in a row of the mosaic, 1..255
            2      kind 2: bytes of the bitmap; of a plain one they follow from the picture's size
            n      bitmap: a bit for each block, row by row, the highest bit of a byte first, padded with zeros;
                   if deflated, without zlib's header, and each row after the first as its difference to the one before
            4 ...  bytes of each sheet of the mosaic (`codec.images.mosaic`) but the last
            n      sheets: lossless WebP streams

Where all blocks are exact, tiles have no streams: the file is lossless, and no network runs to read it.

The invariant: `unpack_exact` returns what `pack_exact` was given, or raises before memory is taken for any pixels.
"""

import zlib
from dataclasses import dataclass

import numpy as np

from codec.bitstream.container import Contents
from codec.bitstream.tiles import Rect
from codec.errors import BitstreamError
from codec.images.lossless import WEBP_SIDE_MAX, Effort, lossless_size, read_lossless, write_lossless
from codec.images.mosaic import BLOCK, COLUMNS_MAX, Mask, mask_shape, paste, sheet_sizes, sheets_of
from codec.images.pixels import Pixels, Samples

WHOLE, PLAIN, DEFLATED = range(3)
DAMAGED = "the file is forged or damaged"


@dataclass(frozen=True, eq=False)
class ExactBlocks:
    """Exact blocks of a picture.

    Attributes:
        mask: (rows, columns) of 64 px blocks, true where exact; some are.
        size: width and height of the picture in pixels.
        columns: blocks in a row of the mosaic; 0 where the one sheet is the picture as it is.
        sheets: lossless WebP streams.
    """

    mask: Mask
    size: tuple[int, int]
    columns: int
    sheets: tuple[bytes, ...]

    @property
    def whole(self) -> bool:
        """Tell whether all blocks are exact."""
        return bool(self.mask.all())


def encode_exact(pixels: Pixels, mask: Mask, effort: Effort = "best") -> ExactBlocks:
    """Encode the blocks of a picture that `mask` marks, at least one, with the mosaic that takes the fewest bytes."""
    size = pixels.width, pixels.height
    if mask.all() and max(size) <= WEBP_SIDE_MAX:
        return ExactBlocks(mask, size, 0, (write_lossless(pixels.data, pixels.grey, effort),))
    tried = []
    for columns in _mosaic_columns(mask):
        sheets = tuple(write_lossless(sheet, pixels.grey, effort) for sheet in sheets_of(pixels, mask, columns))
        tried.append(ExactBlocks(mask, size, columns, sheets))
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
    kind, rest = section[0] if section else -1, section[1:]
    if kind == WHOLE:
        _check_sheet(rest, width, height)
        return ExactBlocks(np.ones(mask_shape(width, height), dtype=bool), (width, height), 0, (rest,))
    if kind not in (PLAIN, DEFLATED):
        raise BitstreamError(f"exact blocks of kind {kind}: this program reads 0 to {DEFLATED}: update it")
    columns, shape = rest[0] if rest else 0, mask_shape(width, height)
    if kind == PLAIN:
        end = 1 + _packed_bytes(shape)
        mask = _unpacked(rest[1:end], shape)
    else:
        end = 3 + int.from_bytes(rest[1:3], "little")
        mask = _inflate(rest[3:end], shape)
    if not 1 <= columns <= COLUMNS_MAX or not mask.any():
        raise BitstreamError(f"exact blocks: {mask.sum()}, {columns} in a row of their mosaic: {DAMAGED}")
    sizes = list(sheet_sizes(int(mask.sum()), columns))
    sheets = _split(rest[end:], len(sizes))
    for sheet, size in zip(sheets, sizes, strict=True):
        _check_sheet(sheet, *size)
    return ExactBlocks(mask, (width, height), columns, sheets)


def paste_exact(exact: ExactBlocks, samples: Samples, window: Rect, grey: bool) -> None:
    """Write exact blocks over the samples (H, W, 3) of a window of a picture, as far as they lie in it.

    Args:
        grey: whether the picture is, so that the sheets' first channel counts.

    Raises:
        BitstreamError: a sheet is damaged.
    """
    if not exact.columns:
        whole = _channels(read_lossless(exact.sheets[0], *exact.size), grey)
        samples[:] = whole[window.top : window.bottom, window.left : window.right]
        return
    places = np.argwhere(exact.mask)
    for stream, size in zip(exact.sheets, sheet_sizes(len(places), exact.columns), strict=True):
        sheet = _channels(read_lossless(stream, *size), grey)
        cells = sheet.shape[0] * sheet.shape[1] // (BLOCK * BLOCK)
        paste(sheet, places[:cells], samples, window)
        places = places[cells:]


def _mosaic_columns(mask: Mask) -> list[int]:
    """Return the widths of mosaics to try: of the box round the blocks, which keeps a full box whole, and a square."""
    count, used = int(mask.sum()), np.flatnonzero(mask.any(0))
    box = int(used[-1] - used[0]) + 1
    return sorted({min(side, count, COLUMNS_MAX) for side in (box, round(count**0.5))})


def _split(joined: bytes, count: int) -> tuple[bytes, ...]:
    """Return the streams of `count` sheets, which the lengths of all but the last precede."""
    head = 4 * (count - 1)
    lengths = np.frombuffer(joined[: min(head, len(joined) // 4 * 4)], dtype="<u4").astype(np.int64)
    ends = head + np.cumsum(lengths)
    if len(lengths) < count - 1 or (count > 1 and ends[-1] > len(joined)):
        raise BitstreamError(f"exact blocks: sheets that run past the end of the section: {DAMAGED}")
    return tuple(joined[a:b] for a, b in zip([head, *ends], [*ends, len(joined)], strict=True))


def _check_sheet(stream: bytes, width: int, height: int) -> None:
    if lossless_size(stream) != (width, height):
        found = "{}x{}".format(*lossless_size(stream))
        raise BitstreamError(f"exact blocks: a sheet of {found} pixels instead of {width}x{height}: {DAMAGED}")


def _channels(samples: Samples, grey: bool) -> Samples:
    """Return samples whose channels are equal if `grey`, whatever a forged sheet has."""
    return np.repeat(samples[..., :1], 3, axis=-1) if grey else samples


def _deflate(mask: Mask) -> bytes:
    changes = mask ^ np.concatenate([np.zeros_like(mask[:1]), mask[:-1]])
    deflater = zlib.compressobj(9, wbits=-15)
    return deflater.compress(np.packbits(changes).tobytes()) + deflater.flush()


def _inflate(deflated: bytes, shape: tuple[int, int]) -> Mask:
    inflater = zlib.decompressobj(wbits=-15)
    try:
        packed = inflater.decompress(deflated, _packed_bytes(shape) + 1)
    except zlib.error as error:
        raise BitstreamError(f"exact blocks: a bitmap that cannot be inflated ({error}): {DAMAGED}") from error
    if not inflater.eof or inflater.unused_data:
        raise BitstreamError(f"exact blocks: a bitmap of another size: {DAMAGED}")
    return np.logical_xor.accumulate(_unpacked(packed, shape), axis=0)


def _packed_bytes(shape: tuple[int, int]) -> int:
    return -(-shape[0] * shape[1] // 8)


def _unpacked(packed: bytes, shape: tuple[int, int]) -> Mask:
    count = shape[0] * shape[1]
    bits = np.unpackbits(np.frombuffer(packed, np.uint8))
    if len(packed) != _packed_bytes(shape) or bits[count:].any():
        raise BitstreamError(f"exact blocks: a bitmap of another size: {DAMAGED}")
    return bits[:count].astype(bool).reshape(shape)


def exact_blocks(contents: Contents) -> ExactBlocks | None:
    """Return the exact blocks of a file, None where it has none, or of a salvaged file where they are damaged.

    Raises:
        BitstreamError: a forged section, or a damaged one in a file that has nothing else.
    """
    if contents.exact is None and not contents.is_coded:
        raise BitstreamError("the picture was stored as exact blocks alone, and these are damaged: nothing is left")
    if not contents.exact:
        return None
    exact = unpack_exact(contents.exact, contents.header.width, contents.header.height)
    if exact.whole and contents.is_coded:
        raise BitstreamError("streams beside a picture of exact blocks alone: the file is forged")
    return exact
