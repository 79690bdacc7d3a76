"""Samples of more than 8 bits, at full depth where Pillow alone would give the high byte of each.

Pillow has no mode for deep colour, but its decoders can be told the byte order: read twice, once in each, a file gives
its high bytes and its low ones.
"""

import io
import math
import sys
import zlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

from codec.errors import ImageError
from codec.images.headers import is_in_planes, is_signed, is_uncompressed, is_white_zero
from codec.images.pixels import Samples
from codec.images.rgb_space import Levels
from codec.images.rows import band_of, bands

_SWAPPED = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
_STRIP_BEGINS, _STRIP_BYTES, _EXTRA_SAMPLES, _STRAIGHT_ALPHA = 273, 279, 338, 2  # of TIFF
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
    if is_in_planes(image):  # of compressed ones Pillow's decoder gives the high bytes, whatever order it is told
        return _of_planes(image, data, bits) if is_uncompressed(image) else None
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
    swapped = [_swap(tile) for tile in image.tile]
    if not swapped or None in swapped or image.mode not in ("RGB", "RGBA"):
        return None
    levels = np.zeros((image.height, image.width, len(image.mode)), np.uint16)
    for tiles, shift in ((image.tile, 8), (swapped, 0)):  # of the high bytes, then of the low ones
        with Image.open(io.BytesIO(data), formats=_WHOLE_WORDS) as file:
            file.tile = tiles
            file.load()
            for rows in bands(*levels.shape[:2]):
                levels[rows] |= np.left_shift(band_of(file, rows, image.mode), shift, dtype=np.uint16)
    return levels


def _of_planes(image: ImageFile.ImageFile, data: bytes, bits: int) -> Raster:
    """Return the samples of an uncompressed TIFF of planes, which Pillow takes for those of 8 bits.

    Raises:
        ImageError: it is not of strips of 16-bit RGB, with straight alpha or none.
    """
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    tags = image.tag_v2
    begins, sizes = (tags.get(tag, ()) for tag in (_STRIP_BEGINS, _STRIP_BYTES))
    shape = len(tags[258]), image.height, image.width
    words = b"".join(data[begin : begin + size] for begin, size in zip(begins, sizes, strict=False))
    extras = tags.get(_EXTRA_SAMPLES, ())
    if bits != 16 or image.mode not in ("RGB", "RGBA") or len(words) != 2 * math.prod(shape) or 1 in extras:
        raise ImageError(f"TIFF of {bits}-bit {image.mode} samples in planes, which is not read: save it interleaved")
    planes = np.frombuffer(words, ">u2" if data[:2] == b"MM" else "<u2").reshape(shape)
    has_alpha = extras[:1] == (_STRAIGHT_ALPHA,)
    alpha = round_levels(planes[3].astype(np.uint16), 65_535) if has_alpha else None
    return Raster(np.moveaxis(planes[:3], 0, -1).astype(np.uint16), 65_535, alpha)


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
        file.load()
        grey, alpha = np.empty(file.size[::-1], np.uint16), np.empty(file.size[::-1], np.uint8)
        for rows in bands(*grey.shape):  # of bytes of grey, then of alpha, high ones first
            words = np.ascontiguousarray(band_of(file, rows, "RGBA")).view(">u2")  # (h, W, 2)
            grey[rows], alpha[rows] = words[..., 0], round_levels(words[..., 1].astype(np.uint16), 65_535)
    return Raster(grey, 65_535, alpha)


def _crc(chunk: bytes) -> bytes:
    return zlib.crc32(chunk).to_bytes(4)


def _of_heif(data: bytes, bits: int) -> Raster:
    """Return the samples of a deep HEIC file."""
    import pillow_heif

    file = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    levels = np.right_shift(np.asarray(file), 16 - bits, dtype=np.uint16)  # (H, W, channels), in the high bits of words
    top = (1 << bits) - 1
    if levels.ndim == 2:
        return Raster(levels, top, None)
    return Raster(levels[..., :3], top, round_levels(levels[..., 3], top) if levels.shape[2] == 4 else None)


def _grey(image: ImageFile.ImageFile, bits: int) -> Raster:
    """Return the samples of modes I and I;16; one transparent level becomes an alpha channel."""
    top = 4095 if (image.format, bits) == ("TIFF", 12) else 65_535  # other depths come spread over 16 bits already
    if is_signed(image):
        top = 32_767
    image.load()
    levels = np.empty((image.height, image.width), np.uint16)
    for rows in bands(*levels.shape):
        values = band_of(image, rows, image.mode)
        if values.min() < 0:
            raise ImageError(f"sample value {values.min()}: convert it to unsigned samples")
        levels[rows] = values
    alpha = _opaque_but(levels, image.info["transparency"]) if "transparency" in image.info else None
    if is_white_zero(image):
        np.subtract(top, levels, out=levels)
    return Raster(levels, top, alpha)


def _opaque_but(levels: NDArray[Any], transparent: Any) -> Samples:
    """Return an alpha channel (H, W), transparent where grey or colour levels are exactly these."""
    hit = levels == np.asarray(transparent)
    return np.where(hit.all(axis=-1) if levels.ndim == 3 else hit, 0, 255).astype(np.uint8)


def round_levels(levels: Levels, top: int) -> Samples:
    """Return levels rounded to the nearest of 256, where `top` becomes 255; those of 8 bits as they are."""
    if levels.dtype == np.uint8 and top == 255:
        return levels.view(np.uint8)
    samples = np.empty(levels.shape, np.uint8)
    for rows in bands(*levels.shape[:2]):
        samples[rows] = (levels[rows].astype(np.uint32) * 255 + top // 2) // top
    return samples
