"""Boxes: what goes in comes out, and of damaged ones the rest."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.bitstream.boxes import Box, pack_boxes, unpack_boxes
from codec.errors import BitstreamError

KINDS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=4, max_size=4).map(str.encode)
BOXES = (Box(b"EXIF", b"abc"), Box(b"none", b""), Box(b"EXIF", bytes(300)))
GOLDEN = "455849460300000033aa7b4a616263"


def box_bytes(kind: bytes, data: bytes, length: int | None = None) -> bytes:
    """A box written from the docstring."""
    sizes = ((len(data) if length is None else length), zlib.crc32(kind + data))
    return kind + b"".join(size.to_bytes(4, "little") for size in sizes) + data


@given(st.lists(st.builds(Box, KINDS, st.binary(max_size=40)), max_size=5).map(tuple))
def test_boxes_come_back(boxes: tuple[Box, ...]) -> None:
    data = pack_boxes(boxes)
    assert data == b"".join(box_bytes(*box) for box in boxes) and unpack_boxes(data) == (boxes, [])


def test_golden_bytes() -> None:
    assert pack_boxes(BOXES[:1]).hex() == GOLDEN


@pytest.mark.parametrize("kind", [b"", b"abc", b"abcde", b"ab\0d", b"ab\x7fd", b"abc\xff"])
def test_other_types_are_not_written(kind: bytes) -> None:
    with pytest.raises(BitstreamError, match="must be four printable ASCII"):
        pack_boxes((Box(kind, b""),))


def test_every_flipped_bit_costs_boxes_and_is_told() -> None:
    data = pack_boxes(BOXES)
    for at in range(len(data)):
        for bit in range(8):
            boxes, damage = unpack_boxes(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
            assert damage and len(boxes) < len(BOXES) and set(boxes) < set(BOXES)


def test_damaged_data_costs_its_box_alone() -> None:
    data = bytearray(pack_boxes(BOXES))
    data[13] ^= 1
    assert unpack_boxes(bytes(data)) == (BOXES[1:], ["box b'EXIF'"])


def test_every_truncation_keeps_the_boxes_before() -> None:
    data, ends = pack_boxes(BOXES), [15, 27, 339]
    for length in range(len(data)):
        boxes, damage = unpack_boxes(data[:length])
        assert boxes == BOXES[: sum(end <= length for end in ends)]
        assert bool(damage) == (length not in (0, *ends))


@pytest.mark.parametrize("length", [4, 2**31, 2**32 - 1])
def test_absurd_lengths_are_told(length: int) -> None:
    assert unpack_boxes(box_bytes(b"EXIF", b"abc", length)) == (
        (), [f"box b'EXIF' of {length} bytes, where 3 are left,"]
    )  # fmt: skip
