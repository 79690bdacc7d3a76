"""Sheets: one part of several pictures side by side, each above its caption."""

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from codec.bitstream.tiles import Rect
from codec.images.pixels import Pixels

CAPTION = 26  # px, height of the line below the panels
GAP = 4  # px, between panels
GROUND = (36, 36, 36)


class Panel(NamedTuple):
    """A picture with the words below it."""

    pixels: Pixels
    caption: str


def side_by_side(panels: list[Panel], part: Rect | None = None, scale: int = 1) -> Pixels:
    """Draw pictures of one size in a row.

    Args:
        part: of each picture to show; None is all of it.
        scale: whole factor that the parts are enlarged by, with cubic interpolation.
    """
    columns, rows = (slice(part.left, part.right), slice(part.top, part.bottom)) if part else (slice(None), slice(None))
    parts = [panel.pixels.data[rows, columns] for panel in panels]
    height, width = (scale * side for side in parts[0].shape[:2])
    sheet = Image.new("RGB", (len(panels) * (width + GAP) - GAP, height + CAPTION), GROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=CAPTION / 2)
    for index, (shown, panel) in enumerate(zip(parts, panels, strict=True)):
        left = index * (width + GAP)
        sheet.paste(Image.fromarray(shown).resize((width, height), Image.Resampling.BICUBIC), (left, 0))
        draw.text((left + 6, height + CAPTION / 2), panel.caption, font=font, fill="white", anchor="lm")
    return Pixels(np.asarray(sheet), grey=False)
