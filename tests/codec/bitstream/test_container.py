"""The container: what goes in comes out, and nothing else is let in.

`GOLDEN` is the file format. To renew it on purpose, raise `VERSION` in codec/bitstream/container.py, run this file, and
paste the hexadecimal digits that the failure shows.
"""

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from codec.architecture import QUALITY_STEPS, SIDE_MAX, TILE_PIXELS_MAX, on_header_grid
from codec.bitstream.container import HEADER_BYTES, VERSION, Contents, Header, Stream, symbols_crc, unpack
from codec.bitstream.container import pack as pack_contents
from codec.errors import BitstreamError

HEADER = Header(b"\x01\x23\x45\x67", 640, 427, 4.25, False)
SYMBOLS_CRC = 0xABCDEF
WORDS = np.array([0, 1, 0xDEADBEEF, 0xFFFFFFFF], dtype=np.uint32)


def pack(header: Header, words: NDArray[np.uint32]) -> bytes:
    """A file of one tile."""
    return pack_contents(Contents(header, (Stream(words, SYMBOLS_CRC),)))


FILE = pack(HEADER, WORDS)
GOLDEN = "52444f30012345677f02aa010044040000efcdab9a01161d0000000001000000efbeaddeffffffff"


def with_checksum(data: bytes) -> bytes:
    """Bytes altered on purpose, by one who can compute a CRC."""
    return data[:20] + zlib.crc32(data[24:], zlib.crc32(data[:20])).to_bytes(4, "little") + data[24:]


@given(
    header=st.builds(
        Header,
        model_id=st.binary(min_size=4, max_size=4),
        width=st.integers(1, SIDE_MAX),
        height=st.integers(1, TILE_PIXELS_MAX // SIDE_MAX),
        quality=st.integers(QUALITY_STEPS, 8 * QUALITY_STEPS).map(lambda steps: steps / QUALITY_STEPS),
        grey=st.booleans(),
        gain_profile=st.integers(0, 7),
        tile=st.just(0),
    ),
    words=st.lists(st.integers(0, 2**32 - 1), max_size=30),
    upright=st.booleans(),
)
def test_unpack_gives_what_pack_was_given(header: Header, words: list[int], upright: bool) -> None:
    if upright:
        header = header._replace(width=header.height, height=header.width)
    data = pack(header, np.array(words, dtype=np.uint32))
    assert len(data) == HEADER_BYTES + 4 * len(words) and HEADER_BYTES == 24
    contents = unpack(data)
    [stream] = contents.streams
    assert stream is not None
    assert contents.header == header and stream.words.dtype == np.uint32 and stream.words.tolist() == words
    assert (stream.symbols_crc, contents.exact, contents.boxes, contents.damage) == (SYMBOLS_CRC, b"", (), ())


def test_golden_bytes() -> None:
    assert FILE.hex() == GOLDEN


def test_layout_is_the_documented_one() -> None:
    assert FILE[:3] == b"RDO" and FILE[3] == 0x30 and FILE[4:8] == HEADER.model_id
    assert [int.from_bytes(FILE[a:b], "little") for a, b in ((8, 10), (10, 12), (12, 14))] == [639, 426, 17408]
    assert [int.from_bytes(FILE[a:b], "little") for a, b in ((14, 17), (17, 20))] == [4, 0xABCDEF]
    assert int.from_bytes(FILE[20:24], "little") == zlib.crc32(FILE[:20] + FILE[24:])
    assert FILE[24:] == WORDS.astype("<u4").tobytes()
    assert pack(HEADER._replace(grey=True), WORDS)[3] == 0x31


def test_the_widest_picture_and_the_largest_area_pass() -> None:
    for width, height in ((SIDE_MAX, 1), (1, SIDE_MAX), (10_000, 10_000)):
        assert unpack(pack(HEADER._replace(width=width, height=height), WORDS))[0][1:3] == (width, height)


@pytest.mark.parametrize("length", range(1, len(FILE)))
def test_every_truncation_is_refused(length: int) -> None:
    with pytest.raises(BitstreamError, match=r"not an \.rdo file" if length < 3 else "truncated"):
        unpack(FILE[:length])


@pytest.mark.parametrize("at", range(len(FILE)))
def test_every_altered_byte_is_refused(at: int) -> None:
    for flip in (0x01, 0x10, 0x80, 0xFF):
        with pytest.raises(BitstreamError):
            unpack(FILE[:at] + bytes([FILE[at] ^ flip]) + FILE[at + 1 :])


@pytest.mark.parametrize("tail", [b"\0", b"\0\0\0\0", FILE])
def test_appended_bytes_are_refused(tail: bytes) -> None:
    with pytest.raises(BitstreamError, match=r"extended: .* the header says 40"):
        unpack(FILE + tail)


@pytest.mark.parametrize(
    "data", [b"\0", b"\x89PNG\r\n\x1a\n" * 9, b"\xff\xd8\xff\xe0" * 20, b"rdo" + FILE[3:], bytes(99)]
)
def test_other_files_are_refused_by_name(data: bytes) -> None:
    with pytest.raises(BitstreamError, match=r"not an \.rdo file: it begins with b'"):
        unpack(data)


def test_an_empty_file_is_called_so() -> None:
    with pytest.raises(BitstreamError, match=r"^empty file of 0 bytes: copy or encode it again$"):
        unpack(b"")


@pytest.mark.parametrize("version", [0, 2, 6, 15])
def test_another_version_is_refused(version: int) -> None:
    data = with_checksum(FILE[:3] + bytes([version << 4]) + FILE[4:])
    mend = "update it" if version > 5 else "decode it with the release that wrote it"
    with pytest.raises(BitstreamError, match=f"format version {version}, .* reads versions {VERSION} to 5: {mend}"):
        unpack(data)


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        pytest.param(8, b"\xff\xff\xff\xff", "65536x65536 pixels", id="65536x65536"),
        pytest.param(8, b"\x10\x27\x0f\x27", "10001x10000 pixels: .* at most 100 megapixels", id="10001x10000"),
        pytest.param(12, (QUALITY_STEPS - 1).to_bytes(2, "little"), "impossible", id="quality below 1"),
        pytest.param(12, (8 * QUALITY_STEPS + 1).to_bytes(2, "little"), "impossible", id="quality above 8"),
        pytest.param(12, b"\0\0", "impossible header of version 3: quality 0", id="quality 0"),
        pytest.param(3, b"\x32", "flags 2", id="flag 2"),
        pytest.param(3, b"\x38", "flags 8", id="flag 8"),
        pytest.param(3, b"\x40", "flags 0", id="version 4 without a profile"),
    ],
)
def test_an_impossible_header_is_refused_though_its_checksum_holds(at: int, value: bytes, message: str) -> None:
    data = with_checksum(FILE[:at] + value + FILE[at + len(value) :])
    with pytest.raises(BitstreamError, match=message):
        unpack(data)


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_are_refused(data: bytes, ours: bool) -> None:
    with pytest.raises(BitstreamError):
        unpack(b"RDO\x20" + data if ours else data)


@pytest.mark.parametrize(
    ("width", "height"), [(0, 1), (1, 0), (SIDE_MAX + 1, 1), (1, SIDE_MAX + 1), (-1, 5), (10_001, 10_000)]
)
def test_pack_refuses_sides_that_the_header_cannot_hold(width: int, height: int) -> None:
    with pytest.raises(BitstreamError, match=f"{width}x{height} pixels: a file holds at most"):
        pack(HEADER._replace(width=width, height=height), WORDS)


def test_pack_refuses_a_stream_too_long() -> None:
    words = np.broadcast_to(np.uint32(0), 2**24)
    with pytest.raises(BitstreamError, match="16777216 words are more"):
        pack(HEADER, words)


@pytest.mark.parametrize("quality", [1.0, 8.0, 3.3, 1.00001, 7.99999, np.pi])
def test_header_grid_keeps_a_quality_through_a_file(quality: float) -> None:
    nearest = on_header_grid(quality)
    assert abs(nearest - quality) <= 0.5 / QUALITY_STEPS and on_header_grid(nearest) == nearest
    assert unpack(pack(HEADER._replace(quality=quality), WORDS))[0].quality == nearest


def test_symbols_crc_sees_every_symbol_and_no_byte_order() -> None:
    a, b = np.arange(-50, 50, dtype=np.int32).reshape(4, 25), np.array([7], dtype=np.int32)
    crc = symbols_crc(a, b)
    assert crc == zlib.crc32(a.astype("<i4").tobytes() + b.astype("<i4").tobytes()) & 0xFFFFFF
    assert crc == symbols_crc(a.astype(">i4"), b) == symbols_crc(np.asfortranarray(a), b)
    assert crc != symbols_crc(b, a)
    for index in np.ndindex(a.shape):
        changed = a.copy()
        changed[index] += 1
        assert symbols_crc(changed, b) != crc
