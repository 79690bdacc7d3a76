"""Drawing on 8-bit pictures: shapes, lines, and text in real fonts, for procedural pictures.

Invariant: what is drawn depends on the arguments and on the fonts of this machine alone; Pillow's own is always there.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from codec.images.pixels import Samples

Colour = tuple[int, int, int]
Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels, its corners included
Points = Sequence[tuple[float, float]]

FONT_FILES = (  # of Linux, macOS and Windows; those that are missing are passed over
    "DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "LiberationSans-Regular.ttf",
    "LiberationSans-Bold.ttf", "LiberationSerif-Regular.ttf", "LiberationSerif-Italic.ttf",
    "LiberationMono-Regular.ttf", "NotoSans-Regular.ttf", "Roboto-Regular.ttf", "Ubuntu-R.ttf", "Helvetica.ttc",
    "Times.ttc", "Menlo.ttc", "arial.ttf", "georgia.ttf", "times.ttf", "verdana.ttf", "segoeui.ttf", "consola.ttf",
)  # fmt: skip


class Canvas:
    """Picture to draw on, opaque 8-bit sRGB.

    Args:
        samples: uint8 (H, W, 3), copied.
        smooth: whether text has grey edges; shapes never have.
    """

    def __init__(self, samples: Samples, smooth: bool = True) -> None:
        self.image = Image.fromarray(np.ascontiguousarray(samples))
        self.pen = ImageDraw.Draw(self.image)
        self.pen.fontmode = "L" if smooth else "1"

    def rectangle(self, box: Box, fill: Colour, outline: Colour | None = None, radius: float = 0) -> None:
        """Fill a rectangle, its corners rounded by `radius` pixels, with a line of one pixel round it."""
        self.pen.rounded_rectangle(box, radius, fill, outline)

    def ellipse(self, box: Box, fill: Colour) -> None:
        """Fill the ellipse inscribed in a box."""
        self.pen.ellipse(box, fill)

    def slice(self, box: Box, start_deg: float, end_deg: float, fill: Colour) -> None:
        """Fill a slice of the ellipse inscribed in a box, between two angles clockwise from the right."""
        self.pen.pieslice(box, start_deg, end_deg, fill)

    def polygon(self, points: Points, fill: Colour) -> None:
        """Fill a polygon."""
        self.pen.polygon(list(points), fill)

    def line(self, points: Points, fill: Colour, width_px: int = 1) -> None:
        """Draw a line through points."""
        self.pen.line(list(points), fill, width_px, joint="curve" if width_px > 2 else None)

    def text(self, at: tuple[float, float], text: str, fill: Colour, font: int, size_px: int) -> None:
        """Write a line of text, its top left corner at a point, in the font of an index (modulo those found)."""
        found = fonts()
        self.pen.text(at, text, fill, _font(found[font % len(found)], size_px))

    def samples(self, reduce: int = 1) -> Samples:
        """Return the picture, uint8 (H, W, 3); with `reduce`, means of squares of as many pixels a side."""
        return np.array(self.image if reduce == 1 else self.image.reduce(reduce))


@lru_cache(maxsize=1)
def fonts() -> tuple[str | None, ...]:
    """Return the files of `FONT_FILES` that this machine has, after None, the font that comes with Pillow."""
    found: list[str | None] = [None]
    for name in FONT_FILES:
        try:
            ImageFont.truetype(name, 10)
        except OSError:
            continue
        found.append(name)
    return tuple(found)


@lru_cache(maxsize=1024)
def _font(name: str | None, size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.truetype(name, size_px) if name else ImageFont.load_default(size_px)
