"""Metadata in .rdo files: EXIF, XMP and ICC profile in boxes of the types `EXIF`, `XMP ` and `ICC `.

The data of each such box is a zlib stream (RFC 1950) of what it is named after: a TIFF block without the prefix "Exif",
a packet in UTF-8, a profile. The profile is that of the decoded pixels; without one they are sRGB.
"""

import zlib
from dataclasses import fields

from codec.bitstream.boxes import Box, pack_boxes
from codec.bitstream.container import HEADER_BYTES, HEADER_BYTES_TILES, INDEX_BYTES, pack, unpack
from codec.errors import BitstreamError
from codec.images.metadata import Metadata

_TYPES = {"exif": b"EXIF", "xmp": b"XMP ", "profile": b"ICC "}
_PART_BYTES_MAX = 1 << 24  # of each, unpacked


def boxes_of(metadata: Metadata) -> tuple[Box, ...]:
    """Return the boxes of a picture's metadata; none for what it lacks.

    Raises:
        BitstreamError: a part of over 16 MiB.
    """
    parts = [(_TYPES[field.name], getattr(metadata, field.name)) for field in fields(metadata)]
    for kind, part in parts:
        if len(part) > _PART_BYTES_MAX:
            raise BitstreamError(f"{kind.decode().strip()} metadata of {len(part)} bytes: drop it with --metadata drop")
    return tuple(Box(kind, zlib.compress(part, 9)) for kind, part in parts if part)


def metadata_of(boxes: tuple[Box, ...]) -> Metadata:
    """Return the metadata in a file's boxes; parts that cannot be unpacked are passed over, as are other boxes."""
    found = {box.type: _unpacked(box.data) for box in boxes if box.type in _TYPES.values()}
    return Metadata(**{name: found.get(kind, b"") for name, kind in _TYPES.items()})


def _unpacked(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        part = stream.decompress(data, _PART_BYTES_MAX)
    except zlib.error:
        return b""
    return part if stream.eof else b""


def add_metadata(data: bytes, metadata: Metadata) -> bytes:
    """Return a file with a picture's metadata after what it holds; the bytes as they are where there is none to add.

    Raises:
        BitstreamError: `data` is no intact file, or the metadata is too large.
    """
    if not metadata:
        return data
    contents = unpack(data)
    return pack(contents._replace(boxes=contents.boxes + boxes_of(metadata)))


def metadata_bytes(data: bytes) -> int:
    """Return the bytes that a file spends on its metadata, a longer header included.

    Raises:
        BitstreamError: `data` is no intact file.
    """
    contents = unpack(data)
    own = tuple(box for box in contents.boxes if box.type in _TYPES.values())
    without = contents._replace(boxes=tuple(box for box in contents.boxes if box not in own))
    return len(pack_boxes(own)) + contents.header_bytes - without.header_bytes


def metadata_bytes_max(metadata: Metadata) -> int:
    """Return by how many bytes `add_metadata` makes a file larger, at most: that of one tile grows by a header."""
    longer_header = HEADER_BYTES_TILES + INDEX_BYTES - HEADER_BYTES
    return len(pack_boxes(boxes_of(metadata))) + longer_header if metadata else 0
