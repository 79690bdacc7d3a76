"""Coding: pixels or latents to the bytes of a file and back, with every check, for any codec of `codec.interface`.

    encode: pixels -> latents -> write        write: header, the codec's stream and a checksum of its symbols
    decode: read -> latents -> pixels         read: the latents that were written, or an error

The invariant: `read` returns the latents that `write` was given, on the writer's grid, or raises. The decoder network
runs in fp32; the codec itself decides in what precision its entropy parameters are computed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec.architecture import on_header_grid
from codec.bitstream.container import Header, check_size, pack, symbols_crc, unpack
from codec.bitstream.range_coder import SYMBOL_MAX
from codec.bitstream.symbols import DRIFT
from codec.errors import BitstreamError, ConfigError
from codec.identity import model_id
from codec.images.pixels import Pixels, crop, from_tensor, pad, to_tensor
from codec.interface import AnyCodec, Latents, Refinable, rounded

SYMBOL_TOLERANCE = 0.25  # quantisation steps: nearer latents are one symbol, as their grids differ by rounding errors


class Decoded(NamedTuple):
    """Contents of a file: pixels, the latents on the writer's grid (batch 1) and the header."""

    pixels: Pixels
    latents: Latents
    header: Header


class Verified(NamedTuple):
    """Bytes of a file that decodes to the latents it was written from, and the pixels that decoding gave."""

    data: bytes
    pixels: Pixels


def encode(codec: AnyCodec, pixels: Pixels, quality: float | None = None) -> bytes:
    """Encode an 8-bit picture plainly, in one forward pass and without refinement, and return the file's bytes.

    Args:
        quality: None takes the codec's default.

    Raises:
        ConfigError: a quality that the codec does not have.
        BitstreamError: the picture is larger than the format holds.
    """
    check_size(pixels.width, pixels.height)
    quality = codec.default_quality if quality is None else quality
    level = codec.level(quality)
    with coding_arithmetic():
        latents = plain_latents(codec, to_tensor(pixels).to(level.device), level)
    return write(codec, latents, width=pixels.width, height=pixels.height, quality=quality, grey=pixels.grey)


def decode(codec: AnyCodec, data: bytes) -> Decoded:
    """Decode the bytes of a file to pixels.

    Raises:
        BitstreamError: the bytes are no intact file of this model.
    """
    header, latents = read(codec, data)
    writer = codec.with_gain_profile(header.gain_profile)
    with coding_arithmetic():
        x_hat = writer.synthesise(latents, writer.level(header.quality))
    pixels = from_tensor(crop(x_hat, header.height, header.width).cpu(), header.grey)
    return Decoded(pixels, latents, header)


def write(codec: AnyCodec, latents: Latents, *, width: int, height: int, quality: float, grey: bool) -> bytes:
    """Encode rounded latents (batch 1) of a picture of width x height pixels, and return the file's bytes.

    Raises:
        ConfigError: a quality that the codec does not have, or latents that are not of this size.
        BitstreamError: latents that are NaN or infinite, or more pixels or data than the format holds.
    """
    check_size(width, height)
    shapes = codec.latent_shapes(width, height)
    if (tuple(latents.y.shape), tuple(latents.z.shape)) != shapes:
        raise ConfigError(
            f"latents {tuple(latents.y.shape)}, {tuple(latents.z.shape)} for an image that needs {shapes}"
        )
    codec.check_ready()
    if not all(bool(v.isfinite().all()) for v in latents):
        raise BitstreamError("the latents are not finite numbers: the model's weights do not suit this picture")
    level = codec.level(quality)
    with coding_arithmetic():
        words, crc = codec.to_words(latents, level), _crc(codec, latents, level)
    header = Header(model_id(codec), width, height, on_header_grid(quality), grey, crc, codec.gain_profile)
    return pack(header, words)


def read(codec: AnyCodec, data: bytes) -> tuple[Header, Latents]:
    """Decode the bytes of a file to its header and its rounded latents (batch 1), after every check.

    The latents are in quantisation steps of `codec.with_gain_profile(header.gain_profile)`, whatever profile `codec`
    has.

    Raises:
        BitstreamError: the bytes are no intact file of this model, or decode differently on this machine.
    """
    header, words = unpack(data)
    codec.check_ready()
    if header.model_id != model_id(codec):
        raise BitstreamError(
            f"written by model {header.model_id.hex()}, this is {codec.config.name} {model_id(codec).hex()}: "
            "name the model that wrote it with --model"
        )
    try:
        codec = codec.with_gain_profile(header.gain_profile)
    except ConfigError as error:
        raise BitstreamError(f"forged header: {error}") from error
    level = codec.level(header.quality)
    codec.check_stream_length(len(words), header.width, header.height)
    with coding_arithmetic():
        latents = codec.from_words(words, header.width, header.height, level)
        if _crc(codec, latents, level) != header.symbols_crc:
            raise BitstreamError(DRIFT)
    return header, latents


def write_verified(codec: AnyCodec, latents: Latents, pixels: Pixels, quality: float) -> Verified:
    """Write the file of a picture's rounded latents and decode it from its bytes.

    Raises:
        ConfigError: a quality that the codec does not have.
        BitstreamError: decoding gives other latents.
    """
    data = write(codec, latents, width=pixels.width, height=pixels.height, quality=quality, grey=pixels.grey)
    decoded = decode(codec, data)
    if not same_symbols(decoded.latents, latents):
        raise BitstreamError("the written file decodes to other symbols: please report this picture and settings")
    return Verified(data, decoded.pixels)


def plain_latents(codec: Refinable, x: Tensor, level: Tensor) -> Latents:
    """Return the rounded latents of plain encoding of unpadded images x (B, 3, H, W) in [0, 1] at `level` (B,)."""
    latents = codec.analyse(pad(x, codec.stride), level)
    return rounded(latents, codec.grid(latents, level))


def same_symbols(a: Latents, b: Latents) -> bool:
    """Tell whether two rounded latents have the same symbols: they may differ by rounding errors of their grids."""
    return all(u.shape == v.shape and bool(((u - v).abs() < SYMBOL_TOLERANCE).all()) for u, v in zip(a, b, strict=True))


@contextmanager
def coding_arithmetic() -> Iterator[None]:
    """Switch off autocast, TF32 and gradients, so that writer and reader compute alike."""
    off = torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False)
    with products("ieee"), torch.no_grad(), off[0], off[1]:
        yield


@contextmanager
def products(precision: str) -> Iterator[None]:
    """Set the precision of fp32 matrix products and convolutions, "ieee" or "tf32", and restore it at the end."""
    backends = torch.backends
    kinds = [backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv]  # type: ignore[attr-defined]
    before = [kind.fp32_precision for kind in kinds]
    for kind in kinds:
        kind.fp32_precision = precision
    try:
        yield
    finally:
        for kind, precision in zip(kinds, before, strict=True):
            kind.fp32_precision = precision


def _crc(codec: AnyCodec, latents: Latents, level: Tensor) -> int:
    """Return the checksum of the symbols of z, then of y: the integers round(latent - grid)."""
    y, z = (_symbols(v - g) for v, g in zip(latents, codec.grid(latents, level), strict=True))
    return symbols_crc(z, y)


def _symbols(steps: Tensor) -> NDArray[np.int32]:
    return steps.round().clamp(-SYMBOL_MAX, SYMBOL_MAX).to(torch.int32).cpu().numpy()
