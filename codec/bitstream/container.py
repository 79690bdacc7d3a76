"""Container of .rdo files, versions 3 and 4: 24 bytes of header and checks, then the words of one range-coded stream.

    offset  bytes  content (little-endian)
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

Version 3 has the gain profile 0, the model's own quantisation steps, version 4 another (`codec.gain_profiles`).

The invariant: `unpack` returns only what `pack` made. It raises `BitstreamError` on anything else, before any entropy
decoding and before memory is taken for the picture; a header may ask for `PIXELS_MAX` pixels at most.

The rest of this text specifies the stream of our own models. Each decision of the coder picks a column of a row: the
row lists the frequencies (unnormalised probabilities) of the columns. With h = ceil(height / 64), w = ceil(width / 64)
the stream codes, in this order:

1. z, (hyper_width, h, w) integers in (channel, row, column) order, each with its channel's row from the checkpoint
   (`prior.rows`), which covers -24..24: first a column for every z, then a number for every z that was escaped.
2. y, (latent, 4h, 4w) integers, group by group in the order of `codec.networks.groups`; in a group by (row, column,
   channel). The networks turn z and the groups before into a mixture of Gaussians for each symbol
   (`codec.networks.context`, in double precision, batch 1, quality as in the header). A group is cut into blocks of
   65,536 symbols. Coded for a block are
   - the index s of its shift, with the one row of 32 columns max(1, 4^(11 - s));
   - its symbols. Their parameters, in grid steps, are rounded to floor(parameter + s / 65536 + 1/2) and give each
     symbol a distribution function F by the integer arithmetic of `codec.bitstream.probability_tables`. First comes,
     for every symbol in order, a row of three columns: below its centre (the rounded mean), at it, above it.
   - the distances d >= 1 from the centre of the symbols that are not at it. An interval low < d <= high is narrowed by
     decisions: with T(x) the mass further out than x on the symbol's side, one decision has two columns, d <= m and
     d > m, of masses T(low) - T(m) and T(m) - T(high), and makes m the new high or the new low. At first low = 0,
     high = 2^31 and T(high) = 0. m is 1 for all of them, in order, then 2 for those with d > 1, then 4 and so on up to
     2^30, while any are left; then every symbol with high - low > 1, in order, has one decision with
     m = floor((low + high) / 2), and so on until none is left.

F(n) is the mass of all integers up to n, a mass being a probability in units of 2^-22. Frequencies are masses plus 1:
the three columns have F(centre - 1), F(centre) - F(centre - 1) and 2^22 - F(centre), each plus 1.

The last column of a row of z is the escape. An escaped symbol d is coded as a number, an Elias-gamma code: with
f = 2d + 1 for d >= 0, else -2d, which is 1 bit and then L bits long, L is coded as a column of 32 equal ones, then the
low L bits of f in parts of up to 16, the low part first, each of b bits as a column of 2^b equal ones.

The range coder works with 24 bits of precision. In a row of n, column i starts at start(i) = floor(c_i * q) + i, with
c_i the sum of the frequencies before it and q = (2^24 - n) / (sum of all), product and quotient rounded to float32; it
ends where the next one starts, the last at 2^24. Of m equal columns each is floor(2^24 / m) long, the last one longer.

    low, range, point = 0, 2^64 - 1, the first two words, high one first; words after the last are 0
    at each symbol     step = floor(range / 2^24); the column is the one that holds floor((point - low) / step)
                       low += step * start; range = step * (end - start)
                       if range < 2^32: low, range, point *= 2^32; point += the next word
    all modulo 2^64
"""

import struct
import zlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.architecture import PIXELS_MAX, QUALITY_FIRST, QUALITY_LAST, QUALITY_STEPS, SIDE_MAX
from codec.errors import BitstreamError

MAGIC, VERSION, VERSION_PROFILES = b"RDO", 3, 4
HEADER_BYTES = 24
WORDS_MAX = 2**24 - 1
_GREY = 1
_PROFILE_SHIFT, _PROFILES = 1, 8
_LAYOUT = struct.Struct("<3sB4sHHH3s3s")


class Header(NamedTuple):
    """Header fields of a file, those apart that `pack` and `unpack` compute.

    `symbols_crc` has 24 bits, `gain_profile` is 0..7.
    """

    model_id: bytes
    width: int
    height: int
    quality: float
    grey: bool
    symbols_crc: int
    gain_profile: int = 0


def check_size(width: int, height: int) -> None:
    """Raise if no file can hold a picture of width x height pixels.

    Raises:
        BitstreamError: a side is outside 1..65536, or the area is over `PIXELS_MAX`.
    """
    if not (0 < width <= SIDE_MAX and 0 < height <= SIDE_MAX and width * height <= PIXELS_MAX):
        limits = f"{PIXELS_MAX / 1e6:g} megapixels and {SIDE_MAX} pixels a side"
        raise BitstreamError(f"{width}x{height} pixels: a file holds at most {limits}")


def symbols_crc(*arrays: NDArray[np.int32]) -> int:
    """Return the 24-bit checksum of integer arrays, independent of the machine's byte order."""
    crc = 0
    for array in arrays:
        crc = zlib.crc32(np.ascontiguousarray(array, dtype="<i4").tobytes(), crc)
    return crc & 0xFFFFFF


def pack(header: Header, words: NDArray[np.uint32]) -> bytes:
    """Return the bytes of a file: the header, its checks and the words of the stream.

    Raises:
        BitstreamError: a side or the stream is longer than the format holds.
    """
    check_size(header.width, header.height)
    if len(words) > WORDS_MAX:
        raise BitstreamError(f"{len(words)} words are more than a file holds: lower the quality, or cut the picture")
    head = _LAYOUT.pack(
        MAGIC,
        (VERSION_PROFILES if header.gain_profile else VERSION) << 4
        | header.gain_profile << _PROFILE_SHIFT
        | _GREY * header.grey,
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
    """Return the header and the stream's words of a file's bytes, after every check that needs no model.

    Raises:
        BitstreamError: not an .rdo file, of another version, truncated, extended or altered.
    """
    if data[:3] != MAGIC:
        raise BitstreamError(f"not an .rdo file: it begins with {data[:3]!r}")
    if len(data) < HEADER_BYTES:
        raise BitstreamError(f"truncated: {len(data)} bytes, shorter than the header of {HEADER_BYTES}")
    _, kind, model_id, width, height, quality, length, symbols = _LAYOUT.unpack(data[: _LAYOUT.size])
    version, profile, grey = kind >> 4, kind >> _PROFILE_SHIFT & _PROFILES - 1, bool(kind & _GREY)
    if version not in (VERSION, VERSION_PROFILES):
        mend = "update it" if version > VERSION_PROFILES else "decode it with the release that wrote it"
        known = f"versions {VERSION} and {VERSION_PROFILES}"
        raise BitstreamError(f"format version {version}, this program reads {known}: {mend}")
    expected = HEADER_BYTES + 4 * int.from_bytes(length, "little")
    if len(data) != expected:
        raise BitstreamError(f"truncated or extended: {len(data)} bytes, the header says {expected}")
    crc = zlib.crc32(data[HEADER_BYTES:], zlib.crc32(data[: _LAYOUT.size]))
    if crc.to_bytes(4, "little") != data[_LAYOUT.size : HEADER_BYTES]:
        raise BitstreamError("checksum mismatch: the file was altered or damaged")
    crc_of_symbols = int.from_bytes(symbols, "little")
    header = Header(model_id, width + 1, height + 1, quality / QUALITY_STEPS, grey, crc_of_symbols, profile)
    check_size(header.width, header.height)
    if not QUALITY_FIRST <= header.quality <= QUALITY_LAST or bool(profile) != (version == VERSION_PROFILES):
        raise BitstreamError(f"impossible header: quality {header.quality}, flags {kind & 0xF}")
    return header, np.frombuffer(data[HEADER_BYTES:], dtype="<u4").astype(np.uint32)
