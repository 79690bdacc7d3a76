"""Image files made in memory, byte by byte where Pillow cannot write them, and checks shared by the tests of images."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from codec.errors import ImageError
from codec.images.read import STRICT, ImagePolicy, read_image

Array = npt.NDArray[Any]
RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


WIDE = np.array([[0, 1, 128, 129, 255, 32767, 32768, 65406, 65407, 65535]], dtype=np.uint16)  # (1, 10), 16-bit levels


def save(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk of a PNG file."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    samples: Array, colour_type: int, depth: int, size: tuple[int, int] | None = None, trns: bytes = b"",
    chunks: dict[bytes, bytes] | None = None,
) -> bytes:  # fmt: skip
    """Write a PNG by hand from samples (H, W, channels), because Pillow writes no 16-bit colour, nor these chunks."""
    width, height = size or (samples.shape[1], samples.shape[0])
    rows = b"".join(b"\0" + row.astype(">u2" if depth == 16 else "u1").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    own = b"".join(chunk(kind, body) for kind, body in (chunks or {}).items())
    parts = chunk(b"IHDR", header), own, chunk(b"tRNS", trns) if trns else b"", chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def tiff(
    data: bytes, width: int, bits: int, channels: int = 1, sample_format: int = 1, photometric: int = 1,
    order: str = "<", compressed: bool = False,
) -> bytes:  # fmt: skip
    """Write a TIFF of one row by hand, from its samples in the order of bytes."""
    depths = struct.pack(f"{order}{channels}H", *[bits] * channels)
    data = zlib.compress(data) if compressed else data
    tags = {256: width, 257: 1, 258: bits, 259: 8 if compressed else 1, 262: photometric if channels == 1 else 2}
    tags |= {273: 0, 277: channels, 278: 1, 279: len(data)} | ({339: sample_format} if sample_format > 1 else {})
    after = 8 + 2 + 12 * len(tags) + 4
    tags[273] = after + len(depths)
    head = struct.pack(order + "2sHIH", b"II" if order == "<" else b"MM", 42, 8, len(tags))
    for tag, value in tags.items():
        own = struct.pack(order + "I", value)
        if tag == 258:
            own = depths.ljust(4, b"\0") if len(depths) <= 4 else struct.pack(order + "I", after)
        head += struct.pack(order + "HHI", tag, *((3, channels) if tag == 258 else (4, 1))) + own
    return head + b"\0\0\0\0" + depths + data


def refuses(data: bytes, message: str, policy: ImagePolicy = STRICT) -> None:
    with pytest.raises(ImageError, match=message):
        read_image(data, policy)


def rounded(levels: Array) -> Array:
    return (levels.astype(np.int64) * 255 + 32767) // 65535


COLOUR16 = np.repeat(WIDE.T[None], 3, axis=2)  # (1, 10, 3)


OPAQUE16 = np.full((1, 10, 1), 65535, np.uint16)
