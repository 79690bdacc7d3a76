"""Exact part of a picture, what is left to the networks, and the file of both, measured as what it decodes to."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from codec.bitstream.boxes import Box
from codec.bitstream.container import (
    CRC_BYTES,
    HEADER_BYTES,
    HEADER_BYTES_TILES,
    INDEX_BYTES,
    Contents,
    pack,
    unpack,
)
from codec.bitstream.exact import encode_exact, exact_blocks, pack_exact, paste_exact
from codec.bitstream.tiles import Rect
from codec.coding import write_verified
from codec.encoding import whole_section
from codec.errors import BitstreamError, ConfigError
from codec.images.fill import filled
from codec.images.mosaic import Mask, pixel_mask
from codec.images.pixels import Pixels, to_tensor
from codec.interface import AnyCodec
from rdo.distortion import Distortion
from rdo.encoded import PricedFile
from rdo.target import Goal
from rdo.tiled_picture import TiledPicture

SECTION_OVERHEAD = HEADER_BYTES_TILES + INDEX_BYTES + CRC_BYTES - HEADER_BYTES  # that a section adds to one tile's file


@dataclass(frozen=True, eq=False)
class PictureDistortion:
    """Distortion of what is decoded in the place of a picture.

    Attributes:
        codec: frozen codec.
        original: pixels of the picture.
        tile: side of its tiles, 0 for one.
        metric: distortion, fitted to the picture.
    """

    codec: AnyCodec
    original: Pixels
    tile: int
    metric: Distortion

    def of(self, decoded: Pixels) -> float:
        """Return the distortion of decoded pixels; of several tiles, their mean."""
        if self.tile:
            level = self.codec.level(self.codec.default_quality)
            picture = TiledPicture(self.codec, self.original, self.tile, level, 1.0, self.metric)
            return picture.distortion(decoded)
        x_hat, x = (to_tensor(pixels).to(self.codec.device) for pixels in (decoded, self.original))
        with torch.no_grad():
            return float(self.metric(x_hat, x))


@dataclass(frozen=True, eq=False)
class ExactPart:
    """Exact part of a picture, and what is left to the networks.

    Attributes:
        section: exact section of the file.
        rest: the picture, smoothly filled where exact.
        distortion: that does not see the exact pixels.
    """

    section: bytes
    rest: Pixels
    distortion: Distortion

    def goal_of_rest(self, goal: Goal) -> Goal:
        """Return the goal of the file of the rest, to which the section is added.

        Raises:
            ConfigError: the section alone is larger.
        """
        if goal.kind != "bytes":
            return goal
        left = goal.value - len(self.section) - SECTION_OVERHEAD
        if left <= 0:
            raise ConfigError(f"target {goal.value:g} bytes: exact blocks alone take {len(self.section)}")
        return replace(goal, value=left)

    def completed(self, file: PricedFile, distortion: PictureDistortion) -> PricedFile:
        """Add the exact blocks to a file of the rest, decode them and price the file.

        Args:
            file: of the rest, verified, so that its streams need not be decoded again.
            distortion: of the whole picture.

        Raises:
            BitstreamError: the file does not decode to what it was made from.
        """
        original, learned = distortion.original, unpack(file.data)
        data = pack(learned._replace(exact=self.section))
        contents = unpack(data)
        exact, samples = exact_blocks(contents), file.pixels.data.copy()
        assert exact is not None and self.distortion.exact is not None
        paste_exact(exact, samples, Rect(0, 0, original.width, original.height), original.grey)
        expected = np.where(self.distortion.exact[0, 0, :, :, None].cpu().numpy(), original.data, file.pixels.data)
        if not (np.array_equal(samples, expected) and _same_streams(learned, contents)):
            raise BitstreamError("the written file decodes to other pixels: please report this picture and settings")
        decoded = Pixels(samples, original.grey)
        return PricedFile(data, decoded, distortion.of(decoded))


def _same_streams(a: Contents, b: Contents) -> bool:
    """Tell whether two files have the same header and streams."""
    pairs = list(zip(a.streams, b.streams, strict=True))
    return a.header == b.header and all(
        u is not None and v is not None and u.symbols_crc == v.symbols_crc and np.array_equal(u.words, v.words)
        for u, v in pairs
    )


def exact_part(codec: AnyCodec, pixels: Pixels, mask: Mask, distortion: Distortion) -> ExactPart:
    """Encode the blocks of a picture that a mask marks exactly, some but not all."""
    exact = pixel_mask(mask, pixels.width, pixels.height)
    masked = replace(distortion, exact=torch.from_numpy(exact)[None, None].to(codec.device))
    return ExactPart(pack_exact(encode_exact(pixels, mask, "good")), filled(pixels, exact), masked)


def whole_file(codec: AnyCodec, pixels: Pixels, quality: float, boxes: tuple[Box, ...] = ()) -> PricedFile:
    """Encode a picture as exact blocks alone, with the best effort, and verify the file."""
    data, decoded = write_verified(codec, None, pixels, quality, exact=whole_section(pixels), boxes=boxes)
    return PricedFile(data, decoded, 0.0)
