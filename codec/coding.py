"""Pixels or latents to a file's bytes and back, every check made.

    encode: pixels -> latents -> write        write: header and symbols, by `codec.bitstream.symbols`, with their
    checksum decode: read -> latents -> pixels         read: the same symbols, or an error

Symbols are coded from networks in double precision; pixels are made in fp32.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec.architecture import STRIDE
from codec.bitstream.container import Header, check_size, on_header_grid, pack, symbols_crc, unpack
from codec.bitstream.range_coder import SYMBOL_MAX, SymbolReader, SymbolWriter
from codec.bitstream.rounding import in_double
from codec.bitstream.symbols import transfer
from codec.checkpoint import model_id
from codec.errors import BitstreamError, ConfigError
from codec.images.pixels import Pixels, crop, from_tensor, pad, to_tensor
from codec.interface import Foreign, Latents, Refinable, rounded
from codec.model import Codec, latent_shapes

AnyCodec = Codec | Foreign
SAME = 0.25  # steps: latents nearer than this are one symbol, on grids that differ by rounding errors
DRIFT = (
    "the file is intact, but this machine computes other entropy parameters than the one that wrote it, by more than "
    "the format allows for: decode it with the torch version and kind of processor that wrote it"
)


class Decoded(NamedTuple):
    """A file's contents: pixels, the integer latents (batch 1) and the header."""

    pixels: Pixels
    latents: Latents
    header: Header


def encode(codec: AnyCodec, pixels: Pixels, quality: float | None = None) -> bytes:
    """Plain encoding of an 8-bit image: one pass, no refinement. `decode(codec, encode(...))` gives its pixels.

    Args:
        quality: None takes the codec's default.

    Raises:
        ConfigError: quality outside 1..8.
        BitstreamError: the picture is larger than the format holds.
    """
    check_size(pixels.width, pixels.height)
    quality = codec.default_quality if quality is None else quality
    level = codec.level(quality)
    with coding_arithmetic():
        latents = plain_latents(codec, to_tensor(pixels).to(level.device), level)
    return write(codec, latents, pixels.width, pixels.height, quality, pixels.grey)


def decode(codec: AnyCodec, data: bytes) -> Decoded:
    """Pixels of a file's bytes.

    Raises:
        BitstreamError: the bytes are no intact file of this model.
    """
    header, latents = read(codec, data)
    with coding_arithmetic():
        x_hat = codec.synthesise(latents, codec.level(header.quality))
    pixels = from_tensor(crop(x_hat, header.height, header.width).cpu(), header.grey)
    return Decoded(pixels, latents, header)


def write(codec: AnyCodec, latents: Latents, width: int, height: int, quality: float, grey: bool) -> bytes:
    """The file of rounded latents (batch 1) for an image of width x height pixels.

    Raises:
        ConfigError: quality outside 1..8, or latents that are not of this image size.
        BitstreamError: latents that are NaN or infinite, or more pixels or data than the format holds.
    """
    check_size(width, height)
    if not isinstance(codec, Codec):
        return _write_foreign(codec, latents, Header(model_id(codec), width, height, on_header_grid(quality), grey, 0))
    shapes = latent_shapes(codec.config, width, height)
    if (tuple(latents.y.shape), tuple(latents.z.shape)) != shapes:
        raise ConfigError(
            f"latents {tuple(latents.y.shape)}, {tuple(latents.z.shape)} for an image that needs {shapes}"
        )
    _check_frozen(codec)
    _check_finite(latents)
    y, z = (t.round().clamp(-SYMBOL_MAX, SYMBOL_MAX) for t in latents)
    writer = SymbolWriter()
    with coding_arithmetic():
        transfer(in_double(codec), writer, width, height, codec.level(quality), Latents(y, z))
    crc = symbols_crc(_int32(z), _int32(y))
    return pack(Header(model_id(codec), width, height, on_header_grid(quality), grey, crc), writer.finish())


def read(codec: AnyCodec, data: bytes) -> tuple[Header, Latents]:
    """Header and integer latents of a file's bytes, every check made.

    Raises:
        BitstreamError: the bytes are no intact file of this model, or decode differently on this machine.
    """
    header, words = unpack(data)
    if isinstance(codec, Codec):
        _check_frozen(codec)
    if header.model_id != model_id(codec):
        raise BitstreamError(
            f"written by model {header.model_id.hex()}, this is {codec.config.name} {model_id(codec).hex()}: "
            "name the model that wrote it with --model"
        )
    if not isinstance(codec, Codec):
        return header, _read_foreign(codec, header, words)
    quality = codec.level(header.quality)
    _check_length(codec, header, len(words))
    reader = SymbolReader(words)
    try:
        with coding_arithmetic():
            latents = transfer(in_double(codec), reader, header.width, header.height, quality, None)
    except BitstreamError as error:
        raise BitstreamError(f"{DRIFT} ({error})") from error
    if not reader.exhausted() or symbols_crc(_int32(latents.z), _int32(latents.y)) != header.symbols_crc:
        raise BitstreamError(DRIFT)
    return header, latents


def plain_latents(codec: Refinable, x: Tensor, level: Tensor) -> Latents:
    """Rounded latents of plain encoding, for images x (B, 3, H, W) in [0, 1], unpadded, at qualities (B,)."""
    latents = codec.analyse(pad(x, codec.stride), level)
    return rounded(latents, codec.grid(latents, level))


def same_symbols(a: Latents, b: Latents) -> bool:
    """Whether two rounded latents are one file's, whoever computed the grid that they lie on."""
    return all(u.shape == v.shape and bool(((u - v).abs() < SAME).all()) for u, v in zip(a, b, strict=True))


@contextmanager
def coding_arithmetic() -> Iterator[None]:
    """No autocast, TF32, bfloat16 products or gradients: what writer and reader must share."""
    off = torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False)
    with products("ieee"), torch.no_grad(), off[0], off[1]:
        yield


@contextmanager
def products(precision: str) -> Iterator[None]:
    """Products and convolutions of single-precision numbers in that precision: "ieee", "tf32"."""
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


def _write_foreign(codec: Foreign, latents: Latents, header: Header) -> bytes:
    _check_finite(latents)
    needed = tuple(4 * -(-side // STRIDE) for side in (header.height, header.width))
    if tuple(latents.y.shape[-2:]) != needed:
        raise ConfigError(f"latents {tuple(latents.y.shape)} for an image that needs {needed}")
    with coding_arithmetic():
        level = codec.level(header.quality)
        words, crc = codec.to_words(latents, level), _foreign_crc(codec, latents, level)
    return pack(header._replace(symbols_crc=crc), words)


def _read_foreign(codec: Foreign, header: Header, words: NDArray[np.uint32]) -> Latents:
    with coding_arithmetic():
        level = codec.level(header.quality)
        latents = codec.from_words(words, header.width, header.height, level)
        if _foreign_crc(codec, latents, level) != header.symbols_crc:
            raise BitstreamError(DRIFT)
    return latents


def _foreign_crc(codec: Foreign, latents: Latents, level: Tensor) -> int:
    """Of the integers that stand for latents on a grid of floats."""
    grid = codec.grid(latents, level)
    y, z = (_int32((v - g).round()) for v, g in zip(latents, grid, strict=True))
    return symbols_crc(z, y)


def _check_finite(latents: Latents) -> None:
    if not all(bool(t.isfinite().all()) for t in latents):
        raise BitstreamError("the latents are not finite numbers: the model's weights do not suit this picture")


def _check_length(codec: Codec, header: Header, words: int) -> None:
    """Before memory is taken: even the likeliest z of a picture this large fills so many words.

    Raises:
        BitstreamError: the stream is shorter.
    """
    rows = codec.prior.rows.double()
    bits = float((rows.sum(1) / rows.amax(1)).log2().sum())  # of one position
    _, z_shape = latent_shapes(codec.config, header.width, header.height)
    z_bits_min = bits * math.prod(z_shape[2:])
    if 32 * words + 64 < z_bits_min:
        raise BitstreamError(f"{words} words cannot hold {header.width}x{header.height} pixels: the header is forged")


def _int32(x: Tensor) -> NDArray[np.int32]:
    return x.to(torch.int32).cpu().numpy()


def _check_frozen(codec: Codec) -> None:
    """Rows of p(z) are zero until training ends.

    Raises:
        ConfigError: they were never made.
    """
    if not bool(codec.prior.rows[0, 0]):
        raise ConfigError("this codec has no rows for p(z) yet: call codec.prior.freeze() after training")
