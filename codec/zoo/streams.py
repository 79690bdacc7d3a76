"""Streams of CompressAI's models, written and read by the library's own `compress` and `decompress`.

These take and return pictures, not latents: so `g_a` and `h_a` are replaced by modules that return given latents while
a model compresses, and `g_s` by one that keeps its input while it decompresses. The coder's strings are packed into
words after their lengths.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from compressai.latent_codecs import ChannelGroupsLatentCodec
from compressai.models import CompressionModel, FactorizedPrior, SimpleVAECompressionModel
from numpy.typing import NDArray
from torch import Tensor, nn

from codec.architecture import Y_PER_Z
from codec.errors import BitstreamError
from codec.interface import Latents
from codec.zoo.entropy import hyper_module

Replacement = tuple[nn.Module, str, Any]  # owner of a network or setting, its name there, and its replacement
_STRING_BYTES_MIN = 4  # the coder's library reads beyond the end of shorter ones


def compress(
    model: CompressionModel, latents: Latents, extra: Sequence[Replacement] = (), arguments: tuple[Any, ...] = ()
) -> list[bytes]:
    """Compress given latents (batch 1) by the model's own `compress`, and return its strings.

    Args:
        extra: further replacements.
        arguments: further arguments of the model's `compress`.
    """
    replacements: list[Replacement] = [(model, "g_a", _Given(latents.y)), *extra]
    if not isinstance(model, FactorizedPrior):
        replacements.append((hyper_module(model), "h_a", _Given(latents.z)))
    with _replaced(*replacements):
        return [strings[0] for strings in model.compress(latents.y, *arguments)["strings"]]


def decompress(
    model: CompressionModel,
    strings: list[bytes],
    hyper: tuple[int, int],
    extra: Sequence[Replacement] = (),
    arguments: tuple[Any, ...] = (),
) -> Latents:
    """Decompress strings by the model's own `decompress` to latents; `hyper` is (H/64, W/64), also without z."""
    y, z = _Kept(), _Kept()
    replacements: list[Replacement] = [(model, "g_s", y), *extra]
    if isinstance(model, FactorizedPrior):
        given = [strings]
    else:
        home, given = hyper_module(model), [[string] for string in strings]
        replacements.append((home, "h_s", nn.Sequential(z, home.h_s)))
    with _replaced(*replacements):
        model.decompress(given, _shape(model, hyper), *arguments)
    return Latents(y.latents, z.latents)


def string_count(model: CompressionModel) -> int:
    """Return the number of strings that the model's `compress` gives."""
    if isinstance(model, FactorizedPrior):
        return 1
    if not isinstance(model, SimpleVAECompressionModel):
        return 2
    coder = model.latent_codec["y"]  # each part in two checkerboard passes; and z
    return 1 + 2 * (len(coder.groups) if isinstance(coder, ChannelGroupsLatentCodec) else 1)


def to_words(strings: list[bytes]) -> NDArray[np.uint32]:
    """Pack strings into words: their lengths in bytes, then all strings, and zeros to a whole word."""
    body = b"".join(strings)
    lengths = np.array([len(string) for string in strings], dtype=np.uint32)
    return np.concatenate([lengths, np.frombuffer(body + bytes(-len(body) % 4), dtype="<u4").astype(np.uint32)])


def from_words(words: NDArray[np.uint32], count: int) -> list[bytes]:
    """Unpack `count` strings from words.

    Raises:
        BitstreamError: words that `to_words` did not make.
    """
    lengths = words[:count].astype(np.int64)
    body = words[count:].astype("<u4").tobytes()
    ends = lengths.cumsum()
    if len(lengths) < count or lengths.min() < _STRING_BYTES_MIN or len(body) != ends[-1] + -ends[-1] % 4:
        raise BitstreamError("the stream does not hold this model's strings: the file is forged")
    return [body[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def _shape(model: CompressionModel, hyper: tuple[int, int]) -> Any:
    """Return the argument `shape` of the model's `decompress`."""
    y = Y_PER_Z * hyper[0], Y_PER_Z * hyper[1]
    if isinstance(model, FactorizedPrior):
        return y
    if not isinstance(model, SimpleVAECompressionModel):
        return hyper
    coder = model.latent_codec["y"]
    if isinstance(coder, ChannelGroupsLatentCodec):
        return {"y": [(channels, *y) for channels in coder.groups], "hyper": hyper}
    return {"y": (y_channels(model), *y), "hyper": hyper}


def y_channels(model: CompressionModel) -> int:
    """Return the number M of channels of y."""
    if isinstance(model, FactorizedPrior):
        return int(model.entropy_bottleneck.channels)
    if not isinstance(model, SimpleVAECompressionModel):
        return int(model.M)
    coder = model.latent_codec["y"]
    grouped = isinstance(coder, ChannelGroupsLatentCodec)
    return int(sum(coder.groups) if grouped else coder.context_prediction.in_channels)


class _Given(nn.Module):
    """Replacement of an analysis: returns given latents, whatever its input."""

    def __init__(self, latents: Tensor) -> None:
        super().__init__()
        self.latents = latents

    def forward(self, _: Tensor) -> Tensor:
        return self.latents


class _Kept(nn.Module):
    """Replacement of a synthesis, or module before it: keeps its input and passes it on."""

    def __init__(self) -> None:
        super().__init__()
        self.latents = torch.empty(1, 0, 1, 1)

    def forward(self, latents: Tensor) -> Tensor:
        self.latents = latents.clone()
        return latents


@contextmanager
def _replaced(*replacements: Replacement) -> Iterator[None]:
    """Replace networks and settings of a model for as long as the context lasts."""
    before = [getattr(owner, name) for owner, name, _ in replacements]
    try:
        for owner, name, new in replacements:
            setattr(owner, name, new)
        yield
    finally:
        for (owner, name, _), own in zip(replacements, before, strict=True):
            setattr(owner, name, own)
