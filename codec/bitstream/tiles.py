"""Tiles of a picture: rectangles that are coded each as a picture of its own.

The side of a tile is a multiple of 64 pixels, so that positions of y and z belong to one tile. The last row and column
of tiles take what remains of the picture where that is less than half a tile, as small tiles cost more bits a pixel.
"""

from itertools import pairwise
from typing import NamedTuple

from codec.architecture import STRIDE

TILE = 1024  # pixels; 0.1 % more bytes than without tiles
TILE_SIDE_MAX = 255 * STRIDE  # that a header holds


class Rect(NamedTuple):
    """Rectangle of a picture, in pixels: columns left..right, rows top..bottom, the ends not included."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.bottom - self.top

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.width, self.height

    def meets(self, other: "Rect") -> bool:
        """Tell whether the two share a pixel."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def contains(self, other: "Rect") -> bool:
        """Tell whether the other one is not empty and lies within this one."""
        across = self.left <= other.left < other.right <= self.right
        return across and self.top <= other.top < other.bottom <= self.bottom

    def common(self, other: "Rect") -> "Rect":
        """Return the rectangle that the two share, which `meets` tells that there is."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        return Rect(left, top, min(self.right, other.right), min(self.bottom, other.bottom))

    def grown(self, margin: int, width: int, height: int) -> "Rect":
        """Return the rectangle with a margin on every side, as far as a picture of width x height pixels reaches."""
        left, top = max(0, self.left - margin), max(0, self.top - margin)
        return Rect(left, top, min(width, self.right + margin), min(height, self.bottom + margin))


def tiles_of(width: int, height: int, side: int) -> list[Rect]:
    """Return the tiles of a picture, in rows from the top left; a side of 0 makes it one tile."""
    columns, rows = (list(pairwise(_edges(length, side))) for length in (width, height))
    return [Rect(left, top, right, bottom) for top, bottom in rows for left, right in columns]


def tile_count(width: int, height: int, side: int) -> int:
    """Return the number of tiles, without a list of them."""
    return _count(width, side) * _count(height, side)


def _edges(length: int, side: int) -> list[int]:
    return [*range(0, side * _count(length, side), side or 1), length] if side else [0, length]


def _count(length: int, side: int) -> int:
    """Return the tiles along a side: the quotient, rounded half up, at least 1."""
    return max(1, (2 * length + side) // (2 * side)) if side else 1
