"""Lossless WebP of exact pixels, without its container: the stream of one VP8L chunk, 20 bytes shorter than a file.

The stream begins with its own width and height. The invariant: `read_lossless` returns a picture of the size asked for,
equal to what `write_lossless` was given, or raises, before memory is taken for a picture of another size.
"""

import io
from typing import TYPE_CHECKING, Literal

import numpy as np

from codec.errors import BitstreamError, ImageError
from codec.images.pixels import Samples

if TYPE_CHECKING:
    from PIL import Image

WEBP_SIDE_MAX = 16_383  # pixels; the header of VP8L has 14 bits a side
Effort = Literal["quick", "good", "best"]
_SETTINGS: dict[Effort, tuple[tuple[int, int], ...]] = {  # WebP's quality and method; the shortest of all is kept
    "quick": ((75, 2),),
    "good": ((75, 2), (100, 4)),
    "best": ((75, 2), (100, 4), (100, 6)),  # the last takes ten times as long, and is not always the shortest
}
_RIFF, _CHUNK = 12, 8  # bytes of the container's header and of that of its only chunk
_HEADER = 5  # bytes of the stream: signature, 14 + 14 bits of size, alpha, 3 bits of version
_SIGNATURE = 0x2F


def write_lossless(samples: Samples, grey: bool, effort: Effort = "best") -> bytes:
    """Return the VP8L stream of samples (H, W, 3) with sides up to 16,383; of grey ones the first channel counts."""
    from PIL import Image  # here, as every start of the codec comes by

    image = Image.fromarray(np.ascontiguousarray(samples[..., 0] if grey else samples))
    streams = (_stream(image, quality, method) for quality, method in _SETTINGS[effort])
    return min(streams, key=len)


def lossless_size(stream: bytes) -> tuple[int, int]:
    """Return width and height in the header of a VP8L stream.

    Raises:
        BitstreamError: no opaque VP8L stream.
    """
    bits = int.from_bytes(stream[1:_HEADER], "little")
    if len(stream) < _HEADER or stream[0] != _SIGNATURE or bits >> 28:  # alpha, or another version
        raise BitstreamError("exact blocks: no lossless WebP stream of opaque pixels: the file is forged or damaged")
    return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1


def read_lossless(stream: bytes, width: int, height: int) -> Samples:
    """Decode a VP8L stream to samples (H, W, 3), which must have the given size.

    Raises:
        BitstreamError: another size, or a damaged stream.
    """
    from PIL import Image

    from codec.images.pillow_guard import pillow_guard

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


def _stream(image: "Image.Image", quality: int, method: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "WEBP", lossless=True, quality=quality, method=method)
    data, start = file.getvalue(), _RIFF + _CHUNK
    assert data[_RIFF : _RIFF + 4] == b"VP8L", "Pillow wrote metadata into a WebP file of bare pixels"
    return data[start : start + int.from_bytes(data[start - 4 : start], "little")]
