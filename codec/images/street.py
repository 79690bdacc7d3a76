"""A procedural street of brick houses with signs, trees and cobbles, for demos where no photograph is at hand.

It is what a landscape is not, edges, letters and small regular shapes, on which the faults of a codec are easily seen.
The invariant: equal arguments give equal pixels, with one version of Pillow.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from codec.images.pixels import Samples

OVERSAMPLING = 3  # the street is drawn at this many times its size, then reduced, as a lens does
GRAIN = 1.5  # levels, of a camera's noise
GROUND = 0.8  # of the height: above it houses, below it cobbles
SIGNS = (
    ("Bakery since 1911", (30, 60, 44)),
    ("Books & Maps", (120, 30, 30)),
    ("Cafe Orion", (24, 34, 70)),
)
WALLS = ((178, 92, 66), (214, 186, 134), (150, 164, 158), (196, 128, 92), (226, 214, 196))
ROOFS = ((78, 82, 92), (120, 60, 48))
FLOWERS = ((206, 40, 60), (60, 120, 40), (44, 94, 34), (236, 190, 60), (240, 120, 160))
SKY = ((96, 150, 215), (226, 232, 238))  # above, and at the ground
FRAME, POST, LAMP, SILL = (238, 234, 226), (30, 34, 36), (250, 240, 200), (150, 140, 130)
Colour = tuple[int, int, int]


class _Canvas(NamedTuple):
    """Drawing in units of 1 / 100 of its height, from its upper left."""

    draw: ImageDraw.ImageDraw
    unit: float
    width: float
    rng: np.random.Generator

    def box(self, x: float, y: float, width: float, height: float, fill: Colour) -> None:
        """Fill a rectangle; nothing where a side is not positive."""
        if width > 0 and height > 0:
            self.draw.rectangle(self._scaled(x, y, x + width, y + height), fill=fill)

    def disc(self, x: float, y: float, width: float, height: float, fill: Colour) -> None:
        """Fill an ellipse around (x, y), of half sides `width` and `height`."""
        self.draw.ellipse(self._scaled(x - width, y - height, x + width, y + height), fill=fill)

    def line(self, x: float, y: float, to_x: float, to_y: float, fill: Colour, width: float) -> None:
        """Draw a straight line."""
        self.draw.line(self._scaled(x, y, to_x, to_y), fill=fill, width=max(1, round(width * self.unit)))

    def tile(self, x: float, y: float, size: float, fill: Colour) -> None:
        """Draw a roof tile, the lower half of a disc with a dark edge."""
        edge = _shade(fill, 0.6)
        self.draw.pieslice(self._scaled(x, y, x + size, y + 1.2 * size), 0, 180, fill=fill, outline=edge)

    def stone(self, x: float, y: float, width: float, height: float, fill: Colour) -> None:
        """Fill a rectangle with round corners."""
        self.draw.rounded_rectangle(self._scaled(x, y, x + width, y + height), height * self.unit / 3, fill=fill)

    def text(self, x: float, y: float, text: str, size: float, fill: Colour) -> float:
        """Write a line of text with its upper left at (x, y); returns its width."""
        font = ImageFont.load_default(size=max(1.0, size * self.unit))
        self.draw.text((x * self.unit, y * self.unit), text, font=font, fill=fill)
        return float(self.draw.textlength(text, font=font)) / self.unit

    def _scaled(self, *values: float) -> list[float]:
        return [value * self.unit for value in values]


def street(width: int, height: int, seed: int = 0) -> Samples:
    """Draw a street, uint8 (height, width, 3)."""
    rng = np.random.default_rng((seed, 23))
    rows = np.linspace(0, 1, OVERSAMPLING * height)[:, None, None]
    sky = np.array(SKY[0]) + rows * (np.array(SKY[1]) - np.array(SKY[0]))
    image = Image.fromarray(sky.repeat(OVERSAMPLING * width, axis=1).astype(np.uint8))
    canvas = _Canvas(ImageDraw.Draw(image), image.height / 100, 100 * image.width / image.height, rng)
    left = 0.0
    while left < canvas.width:
        left += _house(canvas, left) + 0.6
    for index, (text, colour) in enumerate(SIGNS):
        _sign(canvas, canvas.width * (0.1 + 0.3 * index), 66, text, colour)
    _cobbles(canvas)
    for place in (0.06, 0.93):
        _tree(canvas, place * canvas.width)
    for index in range(4):
        _lamp(canvas, canvas.width * (0.15 + 0.23 * index))
    small = image.filter(ImageFilter.GaussianBlur(0.35 * OVERSAMPLING)).resize(
        (width, height), Image.Resampling.LANCZOS
    )
    return _lit(np.asarray(small, dtype=float), rng)


def _house(canvas: _Canvas, left: float) -> float:
    """Draw a house of bricks from `left` on; returns its width."""
    rng = canvas.rng
    width, top = float(rng.integers(24, 36)), float(rng.integers(22, 38))
    wall, roof = WALLS[int(rng.integers(len(WALLS)))], ROOFS[int(rng.integers(len(ROOFS)))]
    height, brick, course = 100 * GROUND - top, 3.2, 1.5
    canvas.box(left, top, width, height, _shade(wall, 0.8))  # mortar
    for row in range(int(height / course)):
        for start in np.arange(left - brick / 2 * (row % 2), left + width, brick):
            begin, end = max(start + 0.15, left), min(start + brick - 0.15, left + width)
            fill = _shade(wall, 1 + 0.1 * rng.normal())
            canvas.box(begin, top + row * course + 0.15, end - begin, course - 0.3, fill)
    for row in range(8):
        inset = 1.3 * (8 - row)
        for start in np.arange(left + inset - row % 2, left + width - inset, 2.6):
            canvas.tile(start, top - 1.6 * (8 - row) - 1.2, 2.6, _shade(roof, 1 + 0.12 * rng.normal()))
    columns, floors = max(2, int(width / 11)), int(height / 17)
    for column in range(columns):
        for floor in range(floors):
            _window(canvas, left + width * (column + 0.5) / columns - 3.2, top + 5 + 16 * floor)
    return width


def _window(canvas: _Canvas, x: float, y: float) -> None:
    """Draw a window of four panes, with a sill, and flowers on some."""
    rng, phase = canvas.rng, canvas.rng.uniform(0, 6)
    canvas.box(x - 0.7, y - 0.7, 7.8, 11.4, FRAME)
    for k in range(20):  # the sky's reflection
        level = 60 + 70 * np.sin(0.35 * k + phase) ** 2
        canvas.box(x, y + 0.5 * k, 6.4, 0.5, _shade((1, 1, 2), level / 2))
    canvas.box(x + 2.9, y, 0.6, 10, FRAME)
    canvas.box(x, y + 4.7, 6.4, 0.6, FRAME)
    canvas.box(x - 1.2, y + 10.7, 8.8, 1.1, SILL)
    for _ in range(60 * (rng.random() < 0.6)):
        size, fill = rng.uniform(0.2, 0.5), FLOWERS[int(rng.integers(len(FLOWERS)))]
        canvas.disc(x + rng.uniform(-1, 7.4), y + rng.uniform(8.8, 11.2), size, size, fill)


def _sign(canvas: _Canvas, x: float, y: float, text: str, fill: Colour) -> None:
    """Draw a sign with a golden rim."""
    width = canvas.text(x, y, text, 4.2, fill)
    canvas.box(x - 2, y - 1, width + 4, 7, (220, 190, 120))
    canvas.box(x - 1.6, y - 0.6, width + 3.2, 6.2, fill)
    canvas.text(x, y, text, 4.2, (244, 228, 180))


def _cobbles(canvas: _Canvas) -> None:
    """Pave the ground, with stones that grow towards the viewer."""
    y = 100 * GROUND
    canvas.box(0, y, canvas.width, 100 - y, (52, 50, 48))
    while y < 100:
        size = 1.4 + 0.2 * (y - 100 * GROUND)
        for x in np.arange(-canvas.rng.uniform(0, size), canvas.width, 1.5 * size):
            fill = _shade((118, 114, 108), 1 + 0.12 * canvas.rng.normal())
            canvas.stone(x, y, 1.5 * size - 0.3, 0.8 * size - 0.2, fill)
        y += 0.8 * size


def _tree(canvas: _Canvas, x: float) -> None:
    """Draw a tree of some thousand leaves, darker below."""
    rng, foot, crown = canvas.rng, 100 * GROUND + 6, 38
    for spread in rng.normal(size=(40, 3)):
        canvas.line(x + 0.6 * spread[0], foot, x + 6 * spread[1], crown + 4 + 5 * spread[2], (70, 52, 38), 0.8)
    for right, down in 11 * rng.normal(size=(5000, 2)):
        size, light = rng.uniform(0.35, 0.9), rng.uniform(0.5, 1.25) * (1 - 0.012 * down)
        canvas.disc(x + right, crown + down, size, 0.6 * size, _shade((74, 128, 44), light))


def _lamp(canvas: _Canvas, x: float) -> None:
    """Draw a street lamp."""
    canvas.line(x, 100 * GROUND + 4, x, 45, POST, 0.9)
    canvas.disc(x, 44, 2, 2, POST)
    canvas.disc(x, 44, 1.6, 1.6, LAMP)


def _shade(colour: Colour, factor: float) -> Colour:
    """Return a colour times a factor, in levels 0..255."""
    red, green, blue = (int(min(255, max(0, value * factor))) for value in colour)
    return red, green, blue


def _lit(levels: NDArray[np.float64], rng: np.random.Generator) -> Samples:
    """Light a drawing from the left, add grain and round to 8 bits."""
    light = np.linspace(1.08, 0.83, levels.shape[1])[:, None]
    return (levels * light + rng.normal(0, GRAIN, levels.shape)).round().clip(0, 255).astype(np.uint8)
