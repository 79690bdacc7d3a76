"""The .rdo container: 24 bytes of header and checks, then the words of one range-coded stream.

    offset  bytes  content (little-endian)
    0       3      magic "RDO"
    3       1      version (high 4 bits), flags (low 4 bits; 1 = grey)
    4       4      model id
    8       2      width - 1, in pixels
    10      2      height - 1
    12      2      quality * 4096
    14      3      number of 4-byte words that follow the header
    17      3      low 24 bits of the CRC-32 of the symbols (z, then y, as int32 in (channel, row, column) order)
    20      4      CRC-32 of every byte of the file but these four
    24      4n     the stream: z in (channel, row, column) order, then each coding group of y

The invariant: `unpack` returns only what `pack` made. It raises `BitstreamError` on anything else, before the entropy
coder sees a byte.
"""

import struct
import zlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.errors import BitstreamError

MAGIC, VERSION = b"RDO", 1
HEADER_BYTES = 24
QUALITY_STEPS = 4096
SIDE_MAX = 65_536
PIXELS_MAX = 300_000_000  # a header may not ask for more memory than a picture of this size
WORDS_MAX = 2**24 - 1
_GREY = 1
_LAYOUT = struct.Struct("<3sB4sHHH3s3s")


class Header(NamedTuple):
    """What a file says of itself; `symbols_crc` is 24 bits."""

    model_id: bytes
    width: int
    height: int
    quality: float
    grey: bool
    symbols_crc: int


def on_header_grid(quality: float) -> float:
    """The nearest quality that a header can hold."""
    return round(quality * QUALITY_STEPS) / QUALITY_STEPS


def symbols_crc(*arrays: NDArray[np.int32]) -> int:
    """24-bit checksum of integer arrays, independent of the machine's byte order."""
    crc = 0
    for array in arrays:
        crc = zlib.crc32(np.ascontiguousarray(array, dtype="<i4").tobytes(), crc)
    return crc & 0xFFFFFF


def pack(header: Header, words: NDArray[np.uint32]) -> bytes:
    """The bytes of a file.

    Raises:
        BitstreamError: a side or the stream is longer than the format holds.
    """
    inside = 0 < header.width <= SIDE_MAX and 0 < header.height <= SIDE_MAX
    if not inside or header.width * header.height > PIXELS_MAX or len(words) > WORDS_MAX:
        raise BitstreamError(f"{header.width}x{header.height} with {len(words)} words exceeds the format's limits")
    head = _LAYOUT.pack(
        MAGIC,
        VERSION << 4 | _GREY * header.grey,
        header.model_id,
        header.width - 1,
        header.height - 1,
        round(header.quality * QUALITY_STEPS),
        len(words).to_bytes(3, "little"),
        header.symbols_crc.to_bytes(3, "little"),
    )
    body = words.astype("<u4").tobytes()
    return head + zlib.crc32(body, zlib.crc32(head)).to_bytes(4, "little") + body


def unpack(data: bytes) -> tuple[Header, NDArray[np.uint32]]:
    """Header and words of a file's bytes.

    Raises:
        BitstreamError: not an .rdo file, of another version, truncated, extended or altered.
    """
    if data[:3] != MAGIC:
        raise BitstreamError(f"not an .rdo file: it begins with {data[:3]!r}")
    if len(data) < HEADER_BYTES:
        raise BitstreamError(f"truncated: {len(data)} bytes, shorter than the header of {HEADER_BYTES}")
    _, kind, model_id, width, height, quality, length, symbols = _LAYOUT.unpack(data[: _LAYOUT.size])
    if kind >> 4 != VERSION:
        raise BitstreamError(f"format version {kind >> 4}, this program reads version {VERSION}: update it")
    expected = HEADER_BYTES + 4 * int.from_bytes(length, "little")
    if len(data) != expected:
        raise BitstreamError(f"truncated or extended: {len(data)} bytes, the header says {expected}")
    crc = zlib.crc32(data[HEADER_BYTES:], zlib.crc32(data[: _LAYOUT.size]))
    if crc.to_bytes(4, "little") != data[_LAYOUT.size : HEADER_BYTES]:
        raise BitstreamError("checksum mismatch: the file was altered or damaged")
    header = Header(
        model_id, width + 1, height + 1, quality / QUALITY_STEPS, bool(kind & _GREY), int.from_bytes(symbols, "little")
    )
    if header.width * header.height > PIXELS_MAX or not 1 <= header.quality <= 8 or kind & 0xF & ~_GREY:
        raise BitstreamError(f"impossible header: {header.width}x{header.height}, quality {header.quality}")
    return header, np.frombuffer(data[HEADER_BYTES:], dtype="<u4").astype(np.uint32)
