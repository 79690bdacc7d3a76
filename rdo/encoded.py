"""Results of encoding a picture: its file, with its cost, beside that of plain encoding."""

from dataclasses import dataclass
from typing import NamedTuple

from codec.bitstream.boxes import Box
from codec.images.pixels import Pixels
from rdo.refinement import Refined


@dataclass(frozen=True)
class PricedFile:
    """Bytes of a verified file, the pixels decoded from them, and the distortion of these."""

    data: bytes
    pixels: Pixels
    distortion: float

    @property
    def bpp(self) -> float:
        """Bits of the file for each pixel."""
        return 8 * len(self.data) / (self.pixels.width * self.pixels.height)

    def cost(self, lmbda: float) -> float:
        """Return bpp + lmbda * distortion."""
        return self.bpp + lmbda * self.distortion


@dataclass(frozen=True)
class EncodedPicture:
    """One picture's file and its plain encoding.

    Attributes:
        file: the refined file; without a goal, the plain one where that costs less.
        plain: the file of plain encoding at the same quality, by the codec's own quantisation steps, along the linear
            path where that costs a hard picture less (`rdo.starts`); under a goal, with the gain profile of `file`.
        quality, lmbda: those of the file.
        refined: the refinement that it came from, of this picture and of those refined with it.
    """

    file: PricedFile
    plain: PricedFile
    quality: float
    lmbda: float
    refined: Refined


class Extras(NamedTuple):
    """Side of the tiles of a file, 0 where the picture is one, and its boxes."""

    tile: int
    boxes: tuple[Box, ...]
