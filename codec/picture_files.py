"""Pictures as arrays and as .rdo files in one call: `imread`, `imwrite`, and the models that they keep loaded.

Sources and targets are paths, streams, or URLs that fsspec knows (s3://, gs://, https://, memory://, ...).
"""

import os
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from codec.bitstream.container import MAGIC, unpack
from codec.checkpoint import installed_models
from codec.coding import Decoded, decode
from codec.encoding import encode
from codec.errors import BitstreamError, ConfigError
from codec.exact_choice import ExactMode
from codec.files import write_atomically
from codec.identity import model_id
from codec.images.colour import convert_by_profile
from codec.images.outputs import OutputSettings, format_of, write_picture
from codec.images.pixels import Pixels, Samples
from codec.images.read import STRICT, ImagePolicy, read_image
from codec.interface import AnyCodec
from codec.loading import load
from codec.metadata_boxes import metadata_of

REFINERS = "rdo.refiners"  # entry points of functions that encode with refinement; `codec` itself has none
Place = str | os.PathLike[str] | BinaryIO
Model = str | Path | AnyCodec


def imread(source: Place | bytes, policy: ImagePolicy = STRICT, model: Model | None = None) -> Samples:
    """Read a .rdo file or a picture of any format as an array, uint8 sRGB (H, W, 3), or (H, W) if it is grey.

    Args:
        policy: decisions on pictures that are no 8-bit opaque stills.
        model: that wrote a .rdo file; None is the installed one that the file names.

    Raises:
        ImageError: no picture that can be read under the policy.
        BitstreamError: a damaged .rdo file, or one of another model.
    """
    data = _read(source)
    pixels = _decoded_srgb(data, model) if data.startswith(MAGIC) else read_image(data, policy)
    return np.ascontiguousarray(pixels.data[..., 0]) if pixels.grey else pixels.data


def imwrite(
    target: Place,
    picture: Any,
    *,
    quality: float | None = None,
    iters: int = 0,
    tune: str | None = None,
    exact: ExactMode = "auto",
    model: Model = "small",
    format: str | None = None,
) -> None:
    """Write an array, uint8 (H, W, 3) or grey (H, W) or (H, W, 1), as a .rdo file or as a picture of another format.

    Args:
        quality: of a .rdo file 1 to 8, of other lossy formats 1 to 100; None is the default.
        iters: refinement steps of a .rdo file; 0 is plain encoding. Needs the package `rdo`.
        tune: what refinement is to be good at (`rdo.encode`).
        exact: of a .rdo file, whether parts are stored losslessly where that costs less, `never`, or `all`.
        model: that writes a .rdo file.
        format: `rdo`, `png`, `jpeg`, `webp`, `avif`, `jxl`, `tiff` or `ppm`; None is by the target's suffix, else .rdo.

    Raises:
        ConfigError: an array of another shape or type, or a value out of range.
        ImageError: the format refuses the picture.
    """
    pixels = pixels_of(picture)
    name = target if isinstance(target, (str, os.PathLike)) else ""
    kind = format or format_of(Path(name)) or "rdo"
    if kind == "rdo":
        data = encode_any(pixels, quality=quality, iters=iters, tune=tune, exact=exact, model=model)
    elif iters or tune:
        raise ConfigError(f"iters, tune: of .rdo files alone, but the format is {kind}")
    else:
        data = write_picture(pixels, settings=OutputSettings(kind, None if quality is None else round(quality)))
    _write(target, data)


def pixels_of(picture: Any) -> Pixels:
    """Return the pixels of an array, uint8 (H, W, 3) or grey (H, W) or (H, W, 1).

    Raises:
        ConfigError: another shape or type.
    """
    array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or not array.size or array.shape[2:] not in ((), (1,), (3,)):
        what = f"array of {array.dtype} {array.shape}"
        raise ConfigError(f"{what}: must be uint8, (height, width), (height, width, 1) or (height, width, 3)")
    grey = array.shape[2:] != (3,)
    three = np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2) if grey else np.ascontiguousarray(array)
    return Pixels(three, grey)


def decode_any(data: bytes, model: Model | None = None) -> Decoded:
    """Decode the bytes of a .rdo file by a model, or by the installed one that it names, which stays loaded.

    Raises:
        BitstreamError: the bytes are no intact file of an installed model.
    """
    codec = _loaded(model) if model is not None else _model_of(unpack(data).header.model_id)
    return decode(codec, data)


def encode_any(
    pixels: Pixels,
    *,
    quality: float | None = None,
    iters: int = 0,
    tune: str | None = None,
    exact: ExactMode = "auto",
    model: Model = "small",
) -> bytes:
    """Encode a picture by a model that stays loaded, refined where `iters` or `tune` ask for it.

    Args:
        exact: whether blocks are stored losslessly where that costs less (`auto`), `never`, or `all` of them.

    Raises:
        ConfigError: a value out of range, or refinement without the package `rdo`.
    """
    codec = _loaded(model)
    if not iters and tune is None:
        return encode(codec, pixels, quality, exact=exact)
    [*refiners] = entry_points(group=REFINERS)
    if not refiners:
        raise ConfigError(f"iters {iters}: refinement is in the package rdo, which is not installed: pip install .")
    data: bytes = refiners[0].load()(codec, pixels, quality=quality, iters=iters, tune=tune, exact=exact)
    return data


def _decoded_srgb(data: bytes, model: Model | None) -> Pixels:
    decoded = decode_any(data, model)
    profile = metadata_of(decoded.boxes).profile
    return convert_by_profile(decoded.pixels, profile) if profile else decoded.pixels


def _loaded(model: Model) -> AnyCodec:
    return _load_once(str(model)) if isinstance(model, (str, Path)) else model


@cache
def _load_once(name: str) -> AnyCodec:
    return load(name)


def _model_of(wanted: bytes) -> AnyCodec:
    """Return the installed model of an id.

    Raises:
        BitstreamError: none has it.
    """
    for name in sorted(installed_models(), key=lambda each: (each != "small", each)):
        if model_id(_load_once(name)) == wanted:
            return _load_once(name)
    raise BitstreamError(f"written by model {wanted.hex()}, which is not installed: name it")


def _read(source: Place | bytes) -> bytes:
    if isinstance(source, (bytes, bytearray)):
        return bytes(source)
    if isinstance(source, (str, os.PathLike)):
        if "://" not in str(source):
            return Path(source).read_bytes()
        with _fsspec().open(str(source), "rb") as file:
            data: bytes = file.read()
        return data
    return source.read()


def _write(target: Place, data: bytes) -> None:
    if not isinstance(target, (str, os.PathLike)):
        target.write(data)
    elif "://" in str(target):
        with _fsspec().open(str(target), "wb") as file:
            file.write(data)
    else:
        write_atomically(Path(target), data)


def _fsspec() -> Any:
    import fsspec  # which torch depends on

    return fsspec
