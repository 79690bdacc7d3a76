"""Samples of more than 8 bits, at full depth where Pillow alone would give the high byte of each.

Pillow has no mode for deep colour, but its decoders can be told the byte order: read twice, once in each, a file gives
its high bytes and its low ones.
"""

import io
import sys
import zlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

from codec.errors import ImageError
from codec.images.headers import is_white_zero
from codec.images.pixels import Samples
from codec.images.rgb_space import Levels

_SWAPPED = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
_SAMPLE_FORMAT, _SIGNED = 339, 2  # of TIFF
_WHOLE_WORDS = ("PNG", "TIFF")  # formats whose samples Pillow's decoders unpack from words
_PNG_GREY_ALPHA_16 = (16, 4)  # depth and colour type


class Raster(NamedTuple):
    """Decoded samples: levels (H, W, 3), or (H, W) of grey, the level of white, and 8-bit alpha (H, W) or None."""

    levels: Levels
    top: int
    alpha: Samples | None


def deep_raster(image: ImageFile.ImageFile, data: bytes, bits: int) -> Raster | None:
    """Return the samples of a picture of more than 8 bits; None where only Pillow's 8 bits can be had.

    Args:
        image: the file, opened by Pillow and not loaded.
        data: its bytes.
        bits: per sample.

    Raises:
        ImageError: samples are negative.
    """
    if image.mode[0] == "I":
        return _grey(image, bits)
    if image.format == "HEIF":
        return _of_heif(data, bits)
    if image.format == "PNG" and (data[24], data[25]) == _PNG_GREY_ALPHA_16:
        return _grey_alpha_of_png(data)
    levels = _both_bytes(image, data) if image.format in _WHOLE_WORDS else None
    if levels is None:
        return None
    alpha = round_levels(levels[..., 3], 65_535) if levels.shape[2] == 4 else None
    if (colour := image.info.get("transparency")) is not None and alpha is None:
        alpha = _opaque_but(levels, colour)
    return Raster(levels[..., :3], 65_535, alpha)


def _both_bytes(image: ImageFile.ImageFile, data: bytes) -> NDArray[np.uint16] | None:
    """Return the 16-bit levels (H, W, 3 or 4) of a file whose samples are whole words; None for any other."""
    second = Image.open(io.BytesIO(data), formats=_WHOLE_WORDS)
    swapped = [_swap(tile) for tile in second.tile]
    if not swapped or None in swapped or image.mode not in ("RGB", "RGBA"):
        return None
    second.tile = swapped
    high, low = (np.asarray(each, np.uint16) for each in (image, second))
    return _words(high, low)


def _swap(tile: Any) -> Any:
    """Return a tile whose words are to be read in the other byte order; None where they are no plain 16-bit words."""
    arguments = tile.args if isinstance(tile.args, tuple) else (tile.args,)
    mode = arguments[0]
    if not isinstance(mode, str) or mode[:-1] not in ("RGB;16", "RGBA;16", "RGBX;16"):
        return None
    swapped = (mode[:-1] + _SWAPPED[mode[-1]], *arguments[1:])
    return tile._replace(args=swapped if isinstance(tile.args, tuple) else swapped[0])


def _grey_alpha_of_png(data: bytes) -> Raster:
    """Return the samples of a PNG of 16-bit grey with alpha, decoded as four channels of 8 bits: its bytes."""
    header = bytearray(data[:33])  # signature and first chunk
    header[24:26] = 8, 6
    header[29:33] = _crc(bytes(header[12:29]))
    with Image.open(io.BytesIO(bytes(header) + data[33:]), formats=["PNG"]) as file:
        four = np.asarray(file.convert("RGBA"), np.uint16)  # (H, W, 4): bytes of grey, then of alpha, high ones first
    grey, alpha = _words(four[..., 0], four[..., 1]), _words(four[..., 2], four[..., 3])
    return Raster(grey, 65_535, round_levels(alpha, 65_535))


def _words(high: NDArray[np.uint16], low: NDArray[np.uint16]) -> NDArray[np.uint16]:
    return (high << 8 | low).astype(np.uint16)


def _crc(chunk: bytes) -> bytes:
    return zlib.crc32(chunk).to_bytes(4)


def _of_heif(data: bytes, bits: int) -> Raster:
    """Return the samples of a deep HEIC file."""
    import pillow_heif

    file = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    levels = (np.asarray(file) >> 16 - bits).astype(np.uint16)  # (H, W, channels), in the high bits of words
    top = (1 << bits) - 1
    if levels.ndim == 2:
        return Raster(levels, top, None)
    return Raster(levels[..., :3], top, round_levels(levels[..., 3], top) if levels.shape[2] == 4 else None)


def _grey(image: ImageFile.ImageFile, bits: int) -> Raster:
    """Return the samples of modes I and I;16; one transparent level becomes an alpha channel."""
    values = np.asarray(image)  # (H, W)
    if values.min() < 0:
        raise ImageError(f"sample value {values.min()}: convert it to unsigned samples")
    top = 4095 if (image.format, bits) == ("TIFF", 12) else 65_535  # other depths come spread over 16 bits already
    if isinstance(image, TiffImagePlugin.TiffImageFile) and _SIGNED in image.tag_v2.get(_SAMPLE_FORMAT, ()):
        top = 32_767
    levels = values.astype(np.uint16)
    if is_white_zero(image):
        np.subtract(top, levels, out=levels)
    return Raster(
        levels, top, _opaque_but(values, image.info["transparency"]) if "transparency" in image.info else None
    )


def _opaque_but(levels: NDArray[Any], transparent: Any) -> Samples:
    """Return an alpha channel (H, W), transparent where grey or colour levels are exactly these."""
    hit = levels == np.asarray(transparent)
    return np.where(hit.all(axis=-1) if levels.ndim == 3 else hit, 0, 255).astype(np.uint8)


def round_levels(levels: Levels, top: int) -> Samples:
    """Return levels rounded to the nearest of 256, where `top` becomes 255; those of 8 bits as they are."""
    if levels.dtype == np.uint8 and top == 255:
        return levels.view(np.uint8)
    return ((levels.astype(np.uint32) * 255 + top // 2) // top).astype(np.uint8)
