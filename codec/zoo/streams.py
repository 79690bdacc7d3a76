"""Streams of CompressAI's models, made and read by the very code that the library has for it.

A model compresses pictures, not latents: so while it compresses, the networks that would analyse a picture stand aside
and latents come in their place; while it decompresses, its synthesis stands aside and the latents are caught. The
coder's strings go into words with their lengths before them.
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

from codec.errors import BitstreamError
from codec.interface import Latents
from codec.zoo.entropy import home_of_hyper

Place = tuple[nn.Module, str, Any]  # a network's or setting's owner, its name there, and what stands in for it
_STRING_BYTES_MIN = 4  # the coder's library reads beyond the end of shorter ones


def compress(
    model: CompressionModel, latents: Latents, also: Sequence[Place] = (), told: tuple[Any, ...] = ()
) -> list[bytes]:
    """The strings of the model's own `compress`, given latents (batch 1) in place of those of a picture.

    Args:
        also: what else stands in.
        told: what else the model's own function is called with.
    """
    places: list[Place] = [(model, "g_a", _Give(latents.y)), *also]
    if not isinstance(model, FactorizedPrior):
        places.append((home_of_hyper(model), "h_a", _Give(latents.z)))
    with _standing_in(*places):
        return [strings[0] for strings in model.compress(latents.y, *told)["strings"]]


def decompress(
    model: CompressionModel,
    strings: list[bytes],
    hyper: tuple[int, int],
    also: Sequence[Place] = (),
    told: tuple[Any, ...] = (),
) -> Latents:
    """The latents that the model's own `decompress` finds; `hyper` is (h, w) of z, or of what would be z."""
    y, z = _Keep(), _Keep()
    places: list[Place] = [(model, "g_s", y), *also]
    if isinstance(model, FactorizedPrior):
        given = [strings]
    else:
        home, given = home_of_hyper(model), [[string] for string in strings]
        places.append((home, "h_s", nn.Sequential(z, home.h_s)))
    with _standing_in(*places):
        model.decompress(given, _shape(model, hyper), *told)
    return Latents(y.latents, z.latents)


def string_count(model: CompressionModel) -> int:
    """How many strings the model's `compress` gives."""
    if isinstance(model, FactorizedPrior):
        return 1
    if not isinstance(model, SimpleVAECompressionModel):
        return 2
    coder = model.latent_codec["y"]  # each part in two checkerboard passes; and z
    return 1 + 2 * (len(coder.groups) if isinstance(coder, ChannelGroupsLatentCodec) else 1)


def to_words(strings: list[bytes]) -> NDArray[np.uint32]:
    """Lengths in bytes, then all strings, and zeros to a whole word."""
    body = b"".join(strings)
    lengths = np.array([len(string) for string in strings], dtype=np.uint32)
    return np.concatenate([lengths, np.frombuffer(body + bytes(-len(body) % 4), dtype="<u4").astype(np.uint32)])


def from_words(words: NDArray[np.uint32], count: int) -> list[bytes]:
    """The `count` strings in words.

    Raises:
        BitstreamError: they are not what `to_words` makes.
    """
    lengths = words[:count].astype(np.int64)
    body = words[count:].astype("<u4").tobytes()
    ends = lengths.cumsum()
    if len(lengths) < count or lengths.min() < _STRING_BYTES_MIN or len(body) != ends[-1] + -ends[-1] % 4:
        raise BitstreamError("the stream does not hold this model's strings: the file is forged")
    return [body[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def _shape(model: CompressionModel, hyper: tuple[int, int]) -> Any:
    """What `decompress` wants to know besides the strings."""
    y = 4 * hyper[0], 4 * hyper[1]
    if isinstance(model, FactorizedPrior):
        return y
    if not isinstance(model, SimpleVAECompressionModel):
        return hyper
    coder = model.latent_codec["y"]
    if isinstance(coder, ChannelGroupsLatentCodec):
        return {"y": [(channels, *y) for channels in coder.groups], "hyper": hyper}
    return {"y": (coder.context_prediction.in_channels, *y), "hyper": hyper}


class _Give(nn.Module):
    """Stands in for an analysis: gives latents whatever comes."""

    def __init__(self, latents: Tensor) -> None:
        super().__init__()
        self.latents = latents

    def forward(self, _: Tensor) -> Tensor:
        return self.latents


class _Keep(nn.Module):
    """Stands before or for a synthesis: keeps what comes."""

    def __init__(self) -> None:
        super().__init__()
        self.latents = torch.empty(1, 0, 1, 1)

    def forward(self, latents: Tensor) -> Tensor:
        self.latents = latents.clone()
        return latents


@contextmanager
def _standing_in(*places: Place) -> Iterator[None]:
    before = [getattr(owner, name) for owner, name, _ in places]
    try:
        for owner, name, stand in places:
            setattr(owner, name, stand)
        yield
    finally:
        for (owner, name, _), own in zip(places, before, strict=True):
            setattr(owner, name, own)
