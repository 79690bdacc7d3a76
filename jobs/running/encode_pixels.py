"""Encoding of images in memory: pixels to the bytes of verified files, and their scores.

The invariant: returned bytes have been decoded, gave the intended latents, and cost no more than plain encoding, unless
a target was given.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from codec.coding import AnyCodec, decode, same_symbols, write
from codec.errors import BitstreamError
from codec.images.pixels import Pixels, to_tensor
from codec.interface import Latents
from codec.model import Codec
from jobs.record import Outcome, Score, score
from jobs.running.encode_settings import EncodeConfig, distortion_for
from jobs.running.failures import is_out_of_memory
from rdo.refinement import Refined, refine
from rdo.strips import strip_pixels
from rdo.target_search import refine_to

STRIP_MIN_PX = 1 << 16  # smaller strips would save no memory, given their halo


@dataclass(frozen=True)
class Verified:
    """Bytes of a file, and the pixels decoded from them."""

    data: bytes
    pixels: Pixels


class Encoded(NamedTuple):
    """Bytes of one file, the quality and lambda that they were made at, and their measurements."""

    data: bytes
    quality: float
    lmbda: float
    outcome: Outcome


def encode_pixels(
    pictures: list[Pixels], codec: AnyCodec, config: EncodeConfig, progress: Callable[[int], None]
) -> list[Encoded]:
    """Encode and score images of one shape; where memory runs out, half of them at a time, then in smaller strips.

    Args:
        progress: called with the number of each finished refinement step.
    """
    half = len(pictures) // 2
    strip = int(min(strip_pixels(config.refine, codec.device), pictures[0].width * pictures[0].height)) // 4
    try:
        return _encode(pictures, codec, config, progress)
    except Exception as error:
        can_shrink = isinstance(codec, Codec) and config.refine.iters and strip >= STRIP_MIN_PX
        if not is_out_of_memory(error) or not (half or can_shrink):
            raise
    if half:
        parts = (pictures[:half], pictures[half:])
        return [encoded for part in parts for encoded in encode_pixels(part, codec, config, progress)]
    smaller = replace(config, refine=replace(config.refine, memory_gib=None, strip_pixels=strip))
    return encode_pixels(pictures, codec, smaller, progress)


def _encode(
    pictures: list[Pixels], codec: AnyCodec, config: EncodeConfig, progress: Callable[[int], None]
) -> list[Encoded]:
    """Refine images of one shape together; return the cheaper of each one's plain and refined file."""
    x = torch.cat([_tensor(pixels, codec) for pixels in pictures])  # (B, 3, H, W)
    distortion = distortion_for(config, codec)
    first, search = pictures[0], config.refine
    if search.time_budget:  # of one image
        search = replace(search, time_budget=search.time_budget * len(pictures))
    goal = config.goal(first.width * first.height)
    if goal:
        refined, quality, lmbda = refine_to(codec, x, goal, search, first.grey, progress, distortion)
    else:
        quality, lmbda = config.quality, config.lmbda if config.lmbda is not None else codec.lmbda_of(config.quality)
        refined = refine(codec, x, quality, search, lmbda, progress, distortion)
    encoded = []
    for index, pixels in enumerate(pictures):
        one = slice(index, index + 1)
        plain_file = write_verified(codec, Latents(*(v[one] for v in refined.plain)), pixels, quality)
        best_file = plain_file
        if refined.iters:
            best_file = write_verified(codec, Latents(*(v[one] for v in refined.latents)), pixels, quality)
        plain, best = (
            score(pixels, file.pixels, len(file.data), lmbda, float(distortion(_tensor(file.pixels, codec), x[one])))
            for file in (plain_file, best_file)
        )
        if best.cost > plain.cost and not goal:  # by rounding to 8 bits, or the padding of the file
            best_file, best = plain_file, plain
        encoded.append(Encoded(best_file.data, quality, lmbda, _outcome(best_file, plain, best, refined)))
    return encoded


def _outcome(file: Verified, plain: Score, best: Score, refined: Refined) -> Outcome:
    """Return the outcome of one image of those refined together."""
    return Outcome(
        output_sha256=hashlib.sha256(file.data).hexdigest(),
        width=file.pixels.width,
        height=file.pixels.height,
        plain=plain,
        refined=best,
        gain_percent=100 * (1 - best.cost / plain.cost),
        verified=True,
        iters=refined.iters,
        method=refined.method if refined.iters else None,
        refine_seconds=refined.seconds / len(refined.plain.y),
    )


def _tensor(pixels: Pixels, codec: AnyCodec) -> Tensor:
    """Return pixels as a tensor (1, 3, H, W), 0..1, on the codec's device."""
    return to_tensor(pixels).to(codec.device)


def write_verified(codec: AnyCodec, latents: Latents, pixels: Pixels, quality: float) -> Verified:
    """Write a file and decode it from its bytes.

    Raises:
        BitstreamError: the decoded latents differ from `latents`.
    """
    data = write(codec, latents, pixels.width, pixels.height, quality, pixels.grey)
    decoded = decode(codec, data)
    if not same_symbols(decoded.latents, latents):
        raise BitstreamError("the written file decodes to other symbols: please report this picture and settings")
    return Verified(data, decoded.pixels)
