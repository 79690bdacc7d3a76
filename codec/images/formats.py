"""Writing pictures: PNG for users, and any format that Pillow or a plugin writes for comparisons."""

import copy
import importlib.metadata
import io
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import Image, features

from codec.errors import ImageError
from codec.images.pixels import Pixels


def write_png(pixels: Pixels) -> bytes:
    """Return the bytes of a PNG file, of one channel if the picture is grey."""
    return write_as(pixels, "PNG")


def write_as(pixels: Pixels, kind: str, options: Mapping[str, Any] = MappingProxyType({})) -> bytes:
    """Return the bytes of a file in the Pillow format `kind` (PNG, JPEG, WEBP, AVIF, ...), with that format's options.

    Raises:
        ImageError: this Pillow has no such format, or the format refuses the picture.
    """
    file = io.BytesIO()
    save_as(file, pixels, kind, options)
    return file.getvalue()


class _WithoutDescriptor:
    """File whose descriptor does not show: Pillow's encoders would write to it, and hide why they cannot."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        if name == "fileno":
            raise AttributeError(name)
        return getattr(self._file, name)


def save_as(file: BinaryIO, pixels: Pixels, kind: str, options: Mapping[str, Any] = MappingProxyType({})) -> None:
    """Write what `write_as` returns to a file, which Pillow may read and write anywhere.

    Raises:
        ImageError: this Pillow has no such format, or the format refuses the picture.
        OSError: the disk is full.
    """
    own = copy.deepcopy(dict(options))  # pillow-heif writes into them
    try:
        image = Image.fromarray(pixels.data[..., 0] if pixels.grey else pixels.data)
        image.save(cast(BinaryIO, _WithoutDescriptor(file)), kind, **own)
    except KeyError as error:
        raise ImageError(f"{kind}: this Pillow cannot write it: install the plugin that can") from error
    except Exception as error:  # plugins raise nearly any type
        if isinstance(error, OSError) and error.errno:
            raise
        raise ImageError(f"{kind}: the picture was refused ({type(error).__name__}: {error})") from error


def read_as(data: bytes, kind: str) -> Pixels:
    """Decode a file in the Pillow format `kind`, without orientation, colour management or depth conversion."""
    with Image.open(io.BytesIO(data), formats=[kind]) as file:
        return Pixels(np.array(file.convert("RGB")), file.mode == "L")


def can_write(kind: str) -> bool:
    """Return whether this Pillow, with the plugins imported so far, writes the format `kind`."""
    Image.init()
    return kind in Image.SAVE


def library_versions() -> dict[str, str]:
    """Return the versions of Pillow and of the encoders inside it, by name."""
    found = {"Pillow": importlib.metadata.version("pillow")}
    for name in ("libjpeg_turbo", "jpg_2000", "webp", "avif"):
        version = features.version(name)
        found |= {name: str(version)} if version else {}
    if "avif" in found:  # libavif, which encodes through others
        from PIL.AvifImagePlugin import get_codec_version

        version = get_codec_version("aom")
        found |= {"aom": version} if version else {}
    return found
