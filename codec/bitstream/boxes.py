"""Boxes of a file: typed data besides the picture, as its EXIF metadata, that a reader may skip.

    bytes  content of a box (little-endian)
    4      type, printable ASCII characters
    4      number of bytes of data
    4      CRC-32 of the type and the data
    n      data

Boxes stand one after the other at the end of a file of version 5. A reader skips those of types it does not know.
"""

import struct
import zlib
from typing import NamedTuple

from codec.errors import BitstreamError

BOX_HEADER_BYTES = 12
BOXES_BYTES_MAX = 2**32 - 1  # of all boxes together
_TYPE_BYTES = 4
_LAYOUT = struct.Struct("<4sII")


class Box(NamedTuple):
    """Type, four printable ASCII characters, and data of a box."""

    type: bytes
    data: bytes


def pack_boxes(boxes: tuple[Box, ...]) -> bytes:
    """Return the bytes of boxes.

    Raises:
        BitstreamError: a type that is not four printable ASCII characters, or more data than a file holds.
    """
    for box in boxes:
        if not _is_type(box.type):
            raise BitstreamError(f"box type {box.type!r}: must be four printable ASCII characters")
    if sum(BOX_HEADER_BYTES + len(box.data) for box in boxes) > BOXES_BYTES_MAX:
        raise BitstreamError(f"boxes of more than {BOXES_BYTES_MAX} bytes: leave metadata out")
    return b"".join(_LAYOUT.pack(box.type, len(box.data), _crc(box)) + box.data for box in boxes)


def unpack_boxes(data: bytes) -> tuple[tuple[Box, ...], list[str]]:
    """Return the intact boxes of the bytes of all, and a text for each that is damaged; `data` is cut short or whole.

    What follows a box whose type or length is impossible cannot be found, and counts as part of that box.
    """
    boxes: list[Box] = []
    damage: list[str] = []
    at = 0
    while at < len(data):
        kind, length, crc = _LAYOUT.unpack_from(data, at) if len(data) - at >= BOX_HEADER_BYTES else (b"", 0, 0)
        begin = at + BOX_HEADER_BYTES
        if not _is_type(kind) or length > len(data) - begin:
            return tuple(boxes), [
                *damage,
                f"box {kind!r} of {length} bytes, where {max(0, len(data) - begin)} are left,",
            ]
        box = Box(kind, bytes(data[begin : begin + length]))
        if crc == _crc(box):
            boxes.append(box)
        else:
            damage.append(f"box {kind!r}")
        at = begin + length
    return tuple(boxes), damage


def _is_type(kind: bytes) -> bool:
    return len(kind) == _TYPE_BYTES and all(0x20 <= byte < 0x7F for byte in kind)


def _crc(box: Box) -> int:
    return zlib.crc32(box.data, zlib.crc32(box.type))
