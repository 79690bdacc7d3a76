"""Lossless WebP of exact pixels, without its container: the stream of one VP8L chunk, 20 bytes shorter than a file.

The stream begins with its own width and height. The invariant: `read_lossless` returns a picture of the size asked for,
equal to what `write_lossless` was given, or raises, before memory is taken for a picture of another size.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from codec.errors import BitstreamError, ImageError
from codec.images.pillow_guard import pillow_guard
from codec.images.pixels import Samples

WEBP_SIDE_MAX = 16_383  # pixels; the header of VP8L has 14 bits a side
QUALITY, METHOD = 100, 6  # WebP's best
QUALITY_QUICK, METHOD_QUICK = 75, 2  # a hundredth of the time, for a few percent of bytes
_RIFF, _CHUNK = 12, 8  # bytes of the container's header and of that of its only chunk
_HEADER = 5  # bytes of the stream: signature, 14 + 14 bits of size, alpha, 3 bits of version
_SIGNATURE = 0x2F


def write_lossless(samples: Samples, grey: bool, quick: bool = False) -> bytes:
    """Return the VP8L stream of samples (H, W, 3) with sides up to 16,383; of grey ones the first channel counts.

    Args:
        quick: whether to save time rather than bytes.
    """
    quality, method = (QUALITY_QUICK, METHOD_QUICK) if quick else (QUALITY, METHOD)
    file = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(samples[..., 0] if grey else samples))
    image.save(file, "WEBP", lossless=True, quality=quality, method=method)
    data = file.getvalue()
    start = _RIFF + _CHUNK
    assert data[_RIFF : _RIFF + 4] == b"VP8L", "Pillow wrote metadata into a WebP file of bare pixels"
    return data[start : start + int.from_bytes(data[start - 4 : start], "little")]


def lossless_size(stream: bytes) -> tuple[int, int]:
    """Return width and height in the header of a VP8L stream.

    Raises:
        BitstreamError: no opaque VP8L stream.
    """
    bits = int.from_bytes(stream[1:_HEADER], "little")
    if len(stream) < _HEADER or stream[0] != _SIGNATURE or bits >> 28:  # alpha, or another version
        raise BitstreamError("exact blocks: no lossless WebP stream of opaque pixels: the file is forged or damaged")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def read_lossless(stream: bytes, width: int, height: int) -> NDArray[np.uint8]:
    """Decode a VP8L stream to samples (H, W, 3), which must have the given size.

    Raises:
        BitstreamError: another size, or a damaged stream.
    """
    if lossless_size(stream) != (width, height):
        found = "{}x{}".format(*lossless_size(stream))
        raise BitstreamError(f"exact blocks: {found} pixels instead of {width}x{height}: the file is forged")
    padded = stream + bytes(len(stream) % 2)
    chunk = b"VP8L" + len(stream).to_bytes(4, "little") + padded
    file = b"RIFF" + (4 + len(chunk)).to_bytes(4, "little") + b"WEBP" + chunk
    try:
        with pillow_guard(), Image.open(io.BytesIO(file), formats=["WEBP"]) as image:
            samples = np.asarray(image.convert("RGB"))
    except ImageError as error:
        raise BitstreamError(f"exact blocks: {error}") from error
    assert samples.shape == (height, width, 3)
    return samples
