"""Version 5 of the container: tiles, exact section and boxes; what is damaged is told, and salvage keeps the rest.

`GOLDEN` is the file format. To renew it on purpose, raise `VERSION_TILES` in codec/bitstream/container.py, run this
file, and paste the hexadecimal digits that the failure shows.
"""

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.architecture import QUALITY_STEPS
from codec.bitstream.boxes import Box
from codec.bitstream.container import Contents, Header, Stream, check_size, pack, unpack
from codec.bitstream.tiles import tile_count
from codec.errors import BitstreamError

HEADER = Header(b"\x01\x23\x45\x67", 200, 70, 4.25, False, 2, tile=128)
STREAMS = tuple(Stream(np.array(words, np.uint32), crc) for words, crc in (([1, 0xFFFFFFFF], 0xABCDEF), ([], 7)))
CONTENTS = Contents(HEADER, STREAMS, b"exact", (Box(b"EXIF", b"abc"), Box(b"XMP ", b"")))
FILE = pack(CONTENTS)
GOLDEN = (
    "52444f5401234567c7004500004402050000001b000000f42d3ee0020000efcdab14ff33000000070000000000"
    "01000000ffffffff657861637405abd669455849460300000033aa7b4a616263584d5020000000005e9b6ad6"
)
HEAD, INDEX, STREAM, EXACT, BOXES = 23, 27, 45, 53, 62  # offsets


def sealed(data: bytes, tiles: int = 2) -> bytes:
    """The header's checksum made to fit."""
    index = data[INDEX : INDEX + 9 * tiles]
    return data[:HEAD] + zlib.crc32(index, zlib.crc32(data[:HEAD])).to_bytes(4, "little") + data[INDEX:]


def same(a: Contents, b: Contents) -> bool:
    streams = all(
        x is not None and y is not None and x.symbols_crc == y.symbols_crc and np.array_equal(x.words, y.words)
        for x, y in zip(a.streams, b.streams, strict=True)
    )
    return streams and a._replace(streams=()) == b._replace(streams=())


@given(
    sides=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    tile=st.sampled_from([0, 64, 128]),
    profile=st.integers(0, 7),
    grey=st.booleans(),
    exact=st.binary(max_size=20),
    boxes=st.lists(st.builds(Box, st.sampled_from([b"EXIF", b"????"]), st.binary(max_size=9)), max_size=3).map(tuple),
    data=st.data(),
)
def test_unpack_gives_what_pack_was_given(sides, tile, profile, grey, exact, boxes, data) -> None:
    header = Header(b"abcd", *sides, 3.5, grey, profile, tile)
    words = st.lists(st.integers(0, 2**32 - 1), max_size=5).map(lambda w: np.array(w, np.uint32))
    stream = st.builds(Stream, words, st.integers(0, 2**24 - 1))
    tiles = tile_count(*sides, tile)
    streams = tuple(data.draw(st.lists(stream, min_size=tiles, max_size=tiles)))
    contents = Contents(header, streams, exact, boxes)
    file = pack(contents)
    if not contents.has_extras:
        contents = contents._replace(header=header._replace(tile=0))  # versions 3 and 4 have no field for it
    assert same(unpack(file), contents) and same(unpack(file, salvage=True), contents)
    assert file[3] >> 4 == (5 if contents.has_extras else 4 if profile else 3)
    rest = 4 * sum(len(s.words) for s in streams) + (len(exact) + 4 if exact else 0)
    assert len(file) == contents.header_bytes + rest + sum(12 + len(box.data) for box in boxes)


def test_golden_bytes() -> None:
    assert FILE.hex() == GOLDEN


def test_layout_is_the_documented_one() -> None:
    assert FILE[:4] == b"RDO\x54" and FILE[4:8] == HEADER.model_id
    assert struct.unpack("<HHHBII", FILE[8:HEAD]) == (199, 69, 17408, 2, 5, 27)
    assert int.from_bytes(FILE[HEAD:INDEX], "little") == zlib.crc32(FILE[:HEAD] + FILE[INDEX:STREAM])
    bodies = STREAMS[0].words.astype("<u4").tobytes(), b""
    for entry, body, stream in zip((FILE[27:36], FILE[36:45]), bodies, STREAMS, strict=True):
        expected = len(body) // 4, stream.symbols_crc, zlib.crc32(body) & 0xFFFFFF
        assert [int.from_bytes(entry[at : at + 3], "little") for at in (0, 3, 6)] == list(expected)
    assert FILE[STREAM:EXACT] == bodies[0]
    assert FILE[EXACT:BOXES] == b"exact" + zlib.crc32(b"exact").to_bytes(4, "little")
    assert FILE[BOXES : BOXES + 8] == b"EXIF" + (3).to_bytes(4, "little") and FILE[-12:-8] == b"XMP "


@pytest.mark.parametrize("length", range(len(FILE)))
def test_every_truncation_is_refused(length: int) -> None:
    told = "empty file" if not length else r"not an \.rdo file" if length < 3 else "truncated"
    with pytest.raises(BitstreamError, match=told):
        unpack(FILE[:length])


@pytest.mark.parametrize("at", range(len(FILE)))
def test_every_altered_byte_is_refused(at: int) -> None:
    for flip in (0x01, 0x10, 0x80, 0xFF):
        with pytest.raises(BitstreamError):
            unpack(FILE[:at] + bytes([FILE[at] ^ flip]) + FILE[at + 1 :])


def test_appended_bytes_are_refused() -> None:
    with pytest.raises(BitstreamError, match=f"extended: .* the header says {len(FILE)}"):
        unpack(FILE + b"\0")


@pytest.mark.parametrize("at", range(STREAM, len(FILE)))
def test_salvage_loses_the_altered_part_alone(at: int) -> None:
    found = unpack(FILE[:at] + bytes([FILE[at] ^ 0x40]) + FILE[at + 1 :], salvage=True)
    assert (found.streams[0] is None, found.exact is None, len(found.boxes) < 2) == (
        at < EXACT, EXACT <= at < BOXES, at >= BOXES
    )  # fmt: skip
    assert found.header == HEADER and len(found.damage) == 1
    part = "tile of columns 0..128, rows 0..70" if at < EXACT else "exact section" if at < BOXES else "box b'"
    assert found.damage[0].startswith(part)


@pytest.mark.parametrize("length", range(STREAM, len(FILE)))
def test_salvage_of_a_truncated_file_keeps_what_is_there(length: int) -> None:
    found = unpack(FILE[:length], salvage=True)
    assert (found.streams[0] is None) == (length < EXACT) and (found.exact is None) == (length < BOXES)
    assert found.boxes == CONTENTS.boxes[: sum(length >= end for end in (BOXES + 15, BOXES + 27))]


@pytest.mark.parametrize("at", range(STREAM))
def test_salvage_needs_header_and_index(at: int) -> None:
    with pytest.raises(BitstreamError):
        unpack(FILE[:at] + bytes([FILE[at] ^ 1]) + FILE[at + 1 :], salvage=True)


@pytest.mark.parametrize(
    ("at", "value", "message"),
    [
        pytest.param(12, (QUALITY_STEPS - 1).to_bytes(2, "little"), "impossible header of version 5", id="quality"),
        pytest.param(14, b"\xff", "truncated or extended", id="one tile, index of two"),
        pytest.param(14, b"\x01", "shorter than the index|truncated or extended|checksum", id="more tiles"),
        pytest.param(15, b"\xff\xff\xff\xff", "the header says 42949673[67][0-9]", id="exact section of 4 GiB"),
        pytest.param(19, b"\xff\xff\xff\xff", "the header says 42949673[0-9]{2}", id="boxes of 4 GiB"),
        pytest.param(27, b"\xff\xff\xff", "truncated or extended", id="longest stream"),
        pytest.param(15, b"\x04\0\0\0\x1c\0\0\0", "exact section was altered", id="sections moved"),
        pytest.param(19, b"\x1a", "truncated or extended", id="boxes cut"),
    ],
)
def test_forged_lengths_are_refused_though_the_checksum_holds(at: int, value: bytes, message: str) -> None:
    forged = FILE[:at] + value + FILE[at + len(value) :]
    tiles = tile_count(200, 70, 64 * forged[14])
    with pytest.raises(BitstreamError, match=message):
        unpack(sealed(forged, tiles))


def test_one_tile_without_extras_is_not_of_this_version() -> None:
    head = FILE[:8] + struct.pack("<HHHBII", 9, 9, 17408, 0, 0, 0) + bytes(4) + bytes(9)
    with pytest.raises(BitstreamError, match="impossible header of version 5"):
        unpack(sealed(head, 1))


@pytest.mark.parametrize(
    ("tile", "message"),
    [(0, "at most 100 megapixels in one tile"), (1, "1048576 tiles of 64 pixels: .* at most 65536"), (8, "index")],
)
@pytest.mark.parametrize("salvage", [False, True])
def test_huge_pictures_in_small_files_take_no_memory(tile: int, message: str, salvage: bool) -> None:
    head = FILE[:8] + struct.pack("<HHHBII", 65535, 65535, 17408, tile, 0, 0) + bytes(4)
    tracemalloc.start()
    with pytest.raises(BitstreamError, match=message):
        unpack(sealed(head + bytes(100), 11), salvage)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_the_largest_picture_has_tiles_of_1024() -> None:
    check_size(65_536, 65_536, 1024)
    for tile in (-64, 32, 100, 256 * 64):
        with pytest.raises(BitstreamError, match="must be a multiple of 64"):
            check_size(70_000 if tile == 1 else 100, 100, tile)
    with pytest.raises(BitstreamError, match="65537x1 pixels: a file holds at most 65536"):
        check_size(65_537, 1, 1024)


def test_a_damaged_box_leaves_a_picture_without_streams() -> None:
    flat = Stream(np.zeros(0, np.uint32), 0)
    file = bytearray(pack(CONTENTS._replace(streams=(flat, flat), exact=b"", boxes=(Box(b"XMP ", b"abc"),))))
    file[-1] ^= 1
    with pytest.raises(BitstreamError, match="--salvage reads the rest"):
        unpack(bytes(file))
    assert unpack(bytes(file), salvage=True).exact == b""
