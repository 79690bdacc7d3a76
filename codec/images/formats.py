"""Pixels in, pictures out: PNG for users, and whatever format of Pillow a comparison asks for."""

import copy
import importlib.metadata
import io
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image, features

from codec.errors import ImageError
from codec.images.pixels import Pixels


def write_png(pixels: Pixels) -> bytes:
    """Gives the bytes of a PNG file, of one channel if the picture is grey."""
    return write_as(pixels, "PNG")


def write_as(pixels: Pixels, kind: str, options: Mapping[str, Any] = MappingProxyType({})) -> bytes:
    """Gives the bytes of a file of the Pillow format `kind`, with that format's own options.

    Raises:
        ImageError: this Pillow has no such format, or the format refuses the picture.
    """
    file = io.BytesIO()
    own = copy.deepcopy(dict(options))  # pillow-heif writes into them
    try:
        Image.fromarray(pixels.data[..., 0] if pixels.grey else pixels.data).save(file, kind, **own)
    except KeyError as error:
        raise ImageError(f"{kind}: this Pillow cannot write it: install the plugin that can") from error
    except Exception as error:  # plugins raise nearly any type
        raise ImageError(f"{kind}: the picture was refused ({type(error).__name__}: {error})") from error
    return file.getvalue()


def read_as(data: bytes, kind: str) -> Pixels:
    """Decodes what `write_as` gave, nothing converted."""
    with Image.open(io.BytesIO(data), formats=[kind]) as file:
        return Pixels(np.array(file.convert("RGB")), file.mode == "L")


def can_write(kind: str) -> bool:
    """Tells whether this Pillow, with the plugins imported so far, writes the format `kind`."""
    Image.init()
    return kind in Image.SAVE


def library_versions() -> dict[str, str]:
    """Gives the versions of Pillow and of the encoders inside it."""
    found = {"Pillow": importlib.metadata.version("pillow")}
    for name in ("libjpeg_turbo", "jpg_2000", "webp", "avif"):
        version = features.version(name)
        found |= {name: str(version)} if version else {}
    return found
