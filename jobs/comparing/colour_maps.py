"""Colour maps of bits and errors, and pictures as data URIs inside a page."""

import base64

import numpy as np
from numpy.typing import NDArray

from codec.architecture import Y_PIXELS
from codec.arithmetic import coding_arithmetic
from codec.images.formats import write_as, write_png
from codec.images.pixels import Pixels
from codec.interface import AnyCodec, Latents, bit_map

JPEG_QUALITY, MAP_JPEG_QUALITY = 92, 80
Plane = NDArray[np.float64]
# colours at equal distances between the ends of a map, RGB
SEQUENTIAL = np.array(
    [(8, 10, 30), (62, 20, 110), (160, 40, 110), (232, 90, 60), (250, 180, 70), (252, 250, 200)], float
)
DIVERGING = np.array([(18, 90, 170), (110, 170, 220), (245, 245, 245), (240, 150, 110), (180, 40, 40)], float)


def bits_per_pixel(codec: AnyCodec, latents: Latents, quality: float) -> Plane:
    """Estimate the bits of every pixel (H, W) of the padded picture; those of a latent are spread over its pixels."""
    with coding_arithmetic():
        blocks = bit_map(codec, latents, codec.level(quality))[0].double().cpu().numpy()
    return blocks.repeat(Y_PIXELS, 0).repeat(Y_PIXELS, 1) / Y_PIXELS**2


def absolute_error(a: Pixels, b: Pixels) -> Plane:
    """Compute the mean over channels of the absolute difference of two pictures, in 8-bit levels (H, W)."""
    return np.abs(a.data - b.data.astype(float)).mean(2)


def colour_map(values: Plane, top: float, colours: Plane = SEQUENTIAL) -> Pixels:
    """Map values (H, W) from 0..top to interpolated colours; values beyond the ends get the colours of the ends."""
    place = np.clip(values / top, 0, 1) * (len(colours) - 1)
    mapped = np.stack([np.interp(place, np.arange(len(colours)), colours[:, c]) for c in range(3)], axis=-1)
    return Pixels(mapped.round().astype(np.uint8), grey=False)


def jpeg_uri(pixels: Pixels, quality: int = JPEG_QUALITY) -> str:
    """Encode a picture as a data URI of JPEG 4:4:4."""
    return _data_uri("jpeg", write_as(pixels, "JPEG", {"quality": quality, "subsampling": 0, "optimize": True}))


def png_uri(pixels: Pixels) -> str:
    """Encode a picture as a data URI of PNG."""
    return _data_uri("png", write_png(pixels))


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
