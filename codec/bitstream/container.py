"""Container of .rdo files: versions 3 and 4 hold a picture as one tile and nothing else, version 5 holds any.

    offset  bytes  content of versions 3 and 4 (little-endian)
    0       3      magic "RDO"
    3       1      version (high 4 bits), gain profile (3 bits), grey (lowest bit)
    4       4      model id
    8       2      width - 1, in pixels
    10      2      height - 1
    12      2      quality * 4096
    14      3      number of 4-byte words that follow the header
    17      3      low 24 bits of the CRC-32 of the symbols (z, then y, as int32 in (channel, row, column) order)
    20      4      CRC-32 of every byte of the file but these four
    24      4n     the stream

    offset  bytes  content of version 5
    0       14     as above
    14      1      side of a tile / 64; 0: the picture is one tile
    15      4      bytes of the exact section; 0: there is none
    19      4      bytes of all boxes together
    23      4      CRC-32 of the 23 bytes before and of the index
    27      9t     the index: for each of the t tiles, in rows from the top left
                   3   number of words of its stream; 0: all symbols are 0, and there is no stream
                   3   low 24 bits of the CRC-32 of its symbols, as above
                   3   low 24 bits of the CRC-32 of its stream's bytes
    27+9t   4n     the tiles' streams, one after the other
            e + 4  the exact section, then its CRC-32; neither where there is none
            b      the boxes (`codec.bitstream.boxes`)

Version 3 has the gain profile 0, the model's own quantisation steps, version 4 another (`codec.gain_profiles`); version
5 has any. `codec.bitstream.tiles` derives the tiles from the sides of picture and tile. Each is coded as if it were a
picture of its own, and decoded from its own latents and those of its neighbours (`codec.tiling`).

The invariants: `unpack` returns only what `pack` made. It raises `BitstreamError` on anything else, before any entropy
decoding and before memory is taken for the picture: the index is as long as the header says, and lists at most
65,536 tiles. A file is of version 5 only where versions 3 and 4 cannot hold its contents.

`codec.bitstream.symbols` specifies the stream of a tile of our own models, and the order of its symbols.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.architecture import QUALITY_FIRST, QUALITY_LAST, QUALITY_STEPS, SIDE_MAX, STRIDE, TILE_PIXELS_MAX
from codec.bitstream.boxes import Box, pack_boxes, unpack_boxes
from codec.bitstream.tiles import TILE_SIDE_MAX, tile_count, tiles_of
from codec.errors import BitstreamError

MAGIC, VERSION, VERSION_PROFILES, VERSION_TILES = b"RDO", 3, 4, 5
HEADER_BYTES = 24  # of versions 3 and 4
HEADER_BYTES_TILES, INDEX_BYTES = 27, 9  # of version 5, and of each tile in its index
WORDS_MAX = 2**24 - 1
TILES_MAX = 2**16
EXACT_BYTES_MAX = 2**32 - 1
CRC_BYTES = 4
_GREY = 1
_PROFILE_SHIFT, _PROFILES = 1, 8
_COMMON = struct.Struct("<3sB4sHHH")
_LAYOUT = struct.Struct("<3sB4sHHH3s3s")
_LAYOUT_TILES = struct.Struct("<3sB4sHHHBII")


class Header(NamedTuple):
    """Header fields of a file, those apart that `pack` and `unpack` compute.

    `gain_profile` is 0..7; `tile` is the side of a tile in pixels, a multiple of 64, 0 where the picture is one tile.
    """

    model_id: bytes
    width: int
    height: int
    quality: float
    grey: bool
    gain_profile: int = 0
    tile: int = 0


class Stream(NamedTuple):
    """Stream of one tile: its 32-bit words, none where all symbols are 0, and the 24-bit checksum of its symbols."""

    words: NDArray[np.uint32]
    symbols_crc: int


class Contents(NamedTuple):
    """Contents of a file.

    Attributes:
        header: size, model and quality.
        streams: of each tile, in the order of `tiles_of`; None where `unpack` salvages a file and it is damaged.
        exact: the exact section; None where it is damaged.
        boxes: typed data besides the picture.
        damage: of a salvaged file, what was lost, one text for each part.
    """

    header: Header
    streams: tuple[Stream | None, ...]
    exact: bytes | None = b""
    boxes: tuple[Box, ...] = ()
    damage: tuple[str, ...] = ()

    @property
    def is_coded(self) -> bool:
        """Tell whether any tile has a stream, intact or damaged: else the picture is its exact section, or flat."""
        return any(stream is None or len(stream.words) for stream in self.streams)

    @property
    def has_extras(self) -> bool:
        """Tell whether a file needs version 5 for it: several tiles, an exact section or boxes."""
        return len(self.streams) > 1 or self.exact != b"" or bool(self.boxes) or bool(self.damage)

    @property
    def header_bytes(self) -> int:
        """Bytes of header, index and their checks, without exact section and boxes."""
        return HEADER_BYTES_TILES + INDEX_BYTES * len(self.streams) if self.has_extras else HEADER_BYTES


def check_size(width: int, height: int, tile: int = 0) -> None:
    """Raise if no file can hold a picture of width x height pixels in tiles of a side, one where that is 0.

    Raises:
        BitstreamError: a side is outside 1..65536, a tile is larger than `TILE_PIXELS_MAX`, or there are too many.
    """
    if not (0 < width <= SIDE_MAX and 0 < height <= SIDE_MAX):
        raise BitstreamError(f"{width}x{height} pixels: a file holds at most {SIDE_MAX} pixels a side")
    if not 0 <= tile <= TILE_SIDE_MAX or tile % STRIDE:
        raise BitstreamError(f"tiles of {tile} pixels: must be a multiple of {STRIDE} up to {TILE_SIDE_MAX}")
    if (tiles := tile_count(width, height, tile)) > TILES_MAX:
        raise BitstreamError(f"{tiles} tiles of {tile} pixels: a file holds at most {TILES_MAX}: use larger tiles")
    largest = [min(length, tile + tile // 2) if tile else length for length in (width, height)]
    if largest[0] * largest[1] > TILE_PIXELS_MAX:
        limit = f"{TILE_PIXELS_MAX / 1e6:g} megapixels"
        raise BitstreamError(f"{width}x{height} pixels: a file holds at most {limit} in one tile: use smaller tiles")


def symbols_crc(*arrays: NDArray[np.int32]) -> int:
    """Return the 24-bit checksum of integer arrays, independent of the machine's byte order."""
    crc = 0
    for array in arrays:
        crc = zlib.crc32(np.ascontiguousarray(array, dtype="<i4").tobytes(), crc)
    return crc & 0xFFFFFF


def pack(contents: Contents) -> bytes:
    """Return the bytes of a file, of the first version that holds its contents.

    Raises:
        BitstreamError: a side, a stream or a section is longer than the format holds.
    """
    header, streams, exact, boxes, _ = contents
    check_size(header.width, header.height, header.tile)
    assert len(streams) == tile_count(header.width, header.height, header.tile), "one stream for each tile"
    words = [stream.words for stream in streams if stream is not None]
    assert len(words) == len(streams), "no stream may be missing"
    assert exact is not None
    if max(map(len, words)) > WORDS_MAX:
        mend = "lower the quality, or make the tiles smaller"
        raise BitstreamError(f"{max(map(len, words))} words are more than a tile of a file holds: {mend}")
    bodies = [each.astype("<u4").tobytes() for each in words]
    if contents.has_extras:
        if len(exact) > EXACT_BYTES_MAX:
            raise BitstreamError(f"an exact section of {len(exact)} bytes is more than a file holds")
        last = pack_boxes(boxes)
        head = _common(header, VERSION_TILES) + struct.pack("<BII", header.tile // STRIDE, len(exact), len(last))
        index = b"".join(_entry(stream, body) for stream, body in zip(streams, bodies, strict=True) if stream)
        section = exact + _crc_bytes(exact) if exact else b""
        return b"".join([head, _crc_bytes(head, index), index, *bodies, section, last])
    [stream], [body] = streams, bodies
    assert stream is not None
    head = _common(header, VERSION_PROFILES if header.gain_profile else VERSION)
    head += len(stream.words).to_bytes(3, "little") + stream.symbols_crc.to_bytes(3, "little")
    return head + _crc_bytes(head, body) + body


def unpack(data: bytes, salvage: bool = False) -> Contents:
    """Return the contents of a file's bytes, after every check that needs no model.

    Args:
        salvage: of a file of version 5 whose header and index are intact, return what else is.

    Raises:
        BitstreamError: not an .rdo file, of another version, truncated, extended or altered.
    """
    if not data:
        raise BitstreamError("empty file of 0 bytes: copy or encode it again")
    if data[:3] != MAGIC:
        raise BitstreamError(f"not an .rdo file: it begins with {bytes(data[:3])!r}")
    if len(data) < HEADER_BYTES:
        raise BitstreamError(f"truncated: {len(data)} bytes, shorter than the header of {HEADER_BYTES}")
    version = data[3] >> 4
    if version == VERSION_TILES:
        return _unpack_tiles(data, salvage)
    if version not in (VERSION, VERSION_PROFILES):
        mend = "update it" if version > VERSION_TILES else "decode it with the release that wrote it"
        known = f"versions {VERSION} to {VERSION_TILES}"
        raise BitstreamError(f"format version {version}, this program reads {known}: {mend}")
    length, symbols = _LAYOUT.unpack_from(data)[-2:]
    _check_length(data, HEADER_BYTES + 4 * int.from_bytes(length, "little"))
    body = data[HEADER_BYTES:]
    if _crc_bytes(data[: _LAYOUT.size], body) != data[_LAYOUT.size : HEADER_BYTES]:
        raise BitstreamError("checksum mismatch: the file was altered or damaged")
    header = _header(data)
    check_size(header.width, header.height)
    _check_fields(header, data[3], bool(header.gain_profile) == (version == VERSION_PROFILES))
    return Contents(header, (Stream(_words(body), int.from_bytes(symbols, "little")),))


def _unpack_tiles(data: bytes, salvage: bool) -> Contents:
    """Return the contents of a file of version 5, where `salvage` as far as they are intact."""
    if len(data) < HEADER_BYTES_TILES:
        raise BitstreamError(f"truncated: {len(data)} bytes, shorter than the header of {HEADER_BYTES_TILES}")
    tile, exact_bytes, boxes_bytes = _LAYOUT_TILES.unpack_from(data)[-3:]
    header = _header(data)._replace(tile=STRIDE * tile)
    check_size(header.width, header.height, header.tile)
    tiles = tile_count(header.width, header.height, header.tile)
    begin = HEADER_BYTES_TILES + INDEX_BYTES * tiles
    if len(data) < begin:
        raise BitstreamError(f"truncated: {len(data)} bytes, shorter than the index of {tiles} tiles")
    index = data[HEADER_BYTES_TILES:begin]
    if _crc_bytes(data[: _LAYOUT_TILES.size], index) != data[_LAYOUT_TILES.size : HEADER_BYTES_TILES]:
        raise BitstreamError("checksum mismatch: the header was altered or damaged")
    _check_fields(header, data[3], tiles > 1 or exact_bytes > 0 or boxes_bytes > 0)
    entries = [tuple(_integers(index[at : at + INDEX_BYTES])) for at in range(0, len(index), INDEX_BYTES)]
    streams_end = begin + 4 * sum(words for words, _, _ in entries)
    exact_end = streams_end + (exact_bytes + CRC_BYTES if exact_bytes else 0)
    if not salvage:
        _check_length(data, exact_end + boxes_bytes)
    tiles_found = tiles_of(header.width, header.height, header.tile)
    streams, damage = [], []
    for tile, (words, symbols, crc) in zip(tiles_found, entries, strict=True):
        body = data[begin : begin + 4 * words]
        intact = len(body) == 4 * words and zlib.crc32(body) & 0xFFFFFF == crc
        if not intact:
            damage.append(f"tile of columns {tile.left}..{tile.right}, rows {tile.top}..{tile.bottom}")
        streams.append(Stream(_words(body), symbols) if intact else None)
        begin += 4 * words
    exact = _exact(data[streams_end:exact_end], exact_bytes)
    if exact is None:
        damage.append("exact section")
    boxes, boxes_damage = unpack_boxes(data[exact_end : exact_end + boxes_bytes])
    damage += boxes_damage
    contents = Contents(header, tuple(streams), exact, boxes, tuple(damage))
    if damage and not salvage:
        is_lost = exact is None and not contents.is_coded
        mend = "nothing is left of the picture: copy it again" if is_lost else "rdo-decode --salvage reads the rest"
        raise BitstreamError(f"checksum mismatch: {damage[0]} was altered or damaged: {mend}")
    return contents


def _common(header: Header, version: int) -> bytes:
    """Return the fields that the headers of all versions begin with."""
    return _COMMON.pack(
        MAGIC,
        version << 4 | header.gain_profile << _PROFILE_SHIFT | _GREY * header.grey,
        header.model_id,
        header.width - 1,
        header.height - 1,
        round(header.quality * QUALITY_STEPS),
    )


def _header(data: bytes) -> Header:
    """Return the fields that the headers of all versions begin with."""
    _, kind, model_id, width, height, steps = _COMMON.unpack_from(data)
    quality, profile = steps / QUALITY_STEPS, kind >> _PROFILE_SHIFT & _PROFILES - 1
    return Header(model_id, width + 1, height + 1, quality, bool(kind & _GREY), profile)


def _check_fields(header: Header, kind: int, version_fits: bool) -> None:
    """Raise for a header that `pack` does not write, though its checksum holds."""
    if not (QUALITY_FIRST <= header.quality <= QUALITY_LAST and version_fits):
        version, flags = kind >> 4, kind & 0xF
        raise BitstreamError(f"impossible header of version {version}: quality {header.quality}, flags {flags}")


def _entry(stream: Stream, body: bytes) -> bytes:
    """Return the index entry of a tile."""
    fields = len(stream.words), stream.symbols_crc, zlib.crc32(body) & 0xFFFFFF
    return b"".join(field.to_bytes(3, "little") for field in fields)


def _integers(entry: bytes) -> Iterator[int]:
    return (int.from_bytes(entry[at : at + 3], "little") for at in range(0, len(entry), 3))


def _exact(section: bytes, length: int) -> bytes | None:
    """Return the exact section without its checksum; None where it is damaged or not whole."""
    if not length:
        return b""
    exact, crc = section[:length], section[length:]
    return exact if _crc_bytes(exact) == crc else None


def _check_length(data: bytes, expected: int) -> None:
    if len(data) != expected:
        raise BitstreamError(f"truncated or extended: {len(data)} bytes, the header says {expected}")


def _crc_bytes(*parts: bytes) -> bytes:
    """Return the CRC-32 of the bytes of all parts."""
    crc = 0
    for part in parts:
        crc = zlib.crc32(part, crc)
    return crc.to_bytes(CRC_BYTES, "little")


def _words(body: bytes) -> NDArray[np.uint32]:
    return np.frombuffer(body, dtype="<u4").astype(np.uint32)
