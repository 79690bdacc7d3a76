"""Encoding of images in memory: pixels to the bytes of verified files, and their scores.

The invariant: returned bytes have been decoded, gave the intended latents, and cost no more than plain encoding, unless
a target was given.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from codec.allocator import release_memory
from codec.bitstream.container import unpack
from codec.bitstream.exact import exact_blocks
from codec.images.pixels import Pixels
from codec.interface import AnyCodec
from jobs.record import Outcome, Score, score
from jobs.running.encode_settings import EncodeConfig, tune_for
from jobs.running.failures import is_out_of_memory
from rdo.encoded import EncodedPicture, PricedFile
from rdo.exact import encode_files
from rdo.memory import strip_pixels
from rdo.resuming import Store
from rdo.tune import is_visual

LARGE_PX = 1 << 22  # of a picture whose memory is given back between stages, though it takes time to get it again
STRIP_MIN_PX = 1 << 16  # smaller strips would save no memory, given their halo


class Encoded(NamedTuple):
    """Bytes of one file, the quality and lambda that they were made at, and their measurements."""

    data: bytes
    quality: float
    lmbda: float
    outcome: Outcome


def encode_pixels(
    pictures: list[Pixels],
    codec: AnyCodec,
    config: EncodeConfig,
    *,
    progress: Callable[[int], None],
    reserved_bytes: int = 0,
    store: Store | None = None,
) -> list[Encoded]:
    """Encode and score images of one shape; where memory runs out, half of them at a time, then in smaller strips.

    Args:
        progress: called with the number of each finished refinement step.
        reserved_bytes: what a target in bytes leaves for other things than the picture.
        store: of one image, place that the state of its refinement is saved in, and gone on from.

    Raises:
        ConfigError: a target that cannot be met.
    """
    half = len(pictures) // 2
    strip = int(min(strip_pixels(config.refine, codec.device), pictures[0].width * pictures[0].height)) // 4
    try:
        return _encode(pictures, codec, config, progress=progress, reserved_bytes=reserved_bytes, store=store)
    except Exception as error:
        can_shrink = codec.strip_rows and config.refine.iters and strip >= STRIP_MIN_PX
        if not is_out_of_memory(error) or not (half or can_shrink):
            raise
    if half:
        parts = (pictures[:half], pictures[half:])
        return [encoded for part in parts for encoded in encode_pixels(part, codec, config, progress=progress)]
    smaller = replace(config, refine=replace(config.refine, memory_gib=None, strip_pixels=strip))
    return encode_pixels(pictures, codec, smaller, progress=progress, reserved_bytes=reserved_bytes, store=store)


def _encode(
    pictures: list[Pixels],
    codec: AnyCodec,
    config: EncodeConfig,
    *,
    progress: Callable[[int], None],
    reserved_bytes: int,
    store: Store | None,
) -> list[Encoded]:
    """Encode images of one shape and measure their files, refined and plain."""
    found = encode_files(
        codec,
        pictures,
        tune=tune_for(config, codec, min(pictures[0].width, pictures[0].height)),
        quality=config.quality,
        lmbda=config.lmbda,
        goal=config.goal(pictures[0].width * pictures[0].height, reserved_bytes),
        config=config.refine,
        exact=config.exact,
        progress=progress,
        tile=config.tile,
        store=store,
    )
    if found[0].file.pixels.width * found[0].file.pixels.height > LARGE_PX:
        release_memory()  # that the networks took, before scores take their own
    return [
        _measured(one, pixels, for_eyes=is_visual(config.tune)) for one, pixels in zip(found, pictures, strict=True)
    ]


def _measured(encoded: EncodedPicture, pixels: Pixels, *, for_eyes: bool) -> Encoded:
    """Return a file with its measurements, and those of its plain encoding."""

    def measured(file: PricedFile) -> Score:
        return score(
            pixels, file.pixels, len(file.data), lmbda=encoded.lmbda, distortion=file.distortion,
            with_butteraugli=for_eyes,
        )  # fmt: skip

    plain = measured(encoded.plain)
    best = plain if encoded.file is encoded.plain else measured(encoded.file)
    refined, contents = encoded.refined, unpack(encoded.file.data)
    exact = exact_blocks(contents)
    outcome = Outcome(
        output_sha256=hashlib.sha256(encoded.file.data).hexdigest(),
        width=pixels.width,
        height=pixels.height,
        plain=plain,
        refined=best,
        gain_percent=100 * (1 - best.cost / plain.cost),
        verified=True,
        iters=refined.iters,
        method=refined.method if refined.iters else None,
        refine_seconds=refined.seconds / len(refined.plain.y),
        gain_profile=contents.header.gain_profile,
        resumed_step=refined.resumed_step,
        exact_blocks=int(exact.mask.sum()) if exact else 0,
    )
    return Encoded(encoded.file.data, encoded.quality, encoded.lmbda, outcome)
