"""Mosaics: some 64 px blocks of a picture side by side on sheets, and back to their places.

The chosen blocks, in rows, fill the rows of the mosaic. It is cut into sheets of bounded size, all but the last full.
Blocks that the picture's edge cuts are completed by repeating their last column and row.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from codec.architecture import STRIDE
from codec.bitstream.tiles import Rect
from codec.images.lossless import WEBP_SIDE_MAX
from codec.images.pixels import Pixels, Samples

BLOCK = STRIDE  # side of a block, in pixels
COLUMNS_MAX = WEBP_SIDE_MAX // BLOCK  # blocks in a row of a sheet
SHEET_BLOCKS = 4096  # of a sheet, about: 17 megapixels
Mask = NDArray[np.bool_]


def mask_shape(width: int, height: int) -> tuple[int, int]:
    """Return the rows and columns of blocks of a picture of width x height pixels."""
    return -(-height // BLOCK), -(-width // BLOCK)


def pixel_mask(mask: Mask, width: int, height: int) -> Mask:
    """Return a mask of blocks as a mask (H, W) of pixels."""
    return mask.repeat(BLOCK, 0).repeat(BLOCK, 1)[:height, :width]


def block_at(pixels: Pixels, index: int, columns: int) -> Samples:
    """Return a block (64, 64, 3) of a picture, by its number row by row of so many columns; completed if cut."""
    return _completed(pixels.data[_slices(_block(divmod(index, columns)))])


def sheet_sizes(count: int, columns: int) -> Iterator[tuple[int, int]]:
    """Return width and height in pixels of the sheets of `count` blocks, `columns` in a row."""
    rows_max = max(1, min(COLUMNS_MAX, SHEET_BLOCKS // columns))
    while count > 0:
        rows = min(-(-count // columns), rows_max)
        yield BLOCK * columns, BLOCK * rows
        count -= rows * columns


def sheets_of(pixels: Pixels, mask: Mask, columns: int) -> Iterator[Samples]:
    """Return the sheets (H, W, 3) of the blocks of a picture that `mask` marks, `columns` in a row."""
    places = np.argwhere(mask)
    for width, height in sheet_sizes(len(places), columns):
        sheet, cells = np.zeros((height, width, 3), dtype=np.uint8), columns * (height // BLOCK)
        for index, place in enumerate(places[:cells]):
            sheet[_slices(_block(divmod(index, columns)))] = _completed(pixels.data[_slices(_block(place))])
        places = places[cells:]
        yield sheet


def paste(sheet: Samples, places: NDArray[np.int64], samples: Samples, window: Rect) -> None:
    """Write the blocks of a sheet over the samples of a window of a picture, as far as they lie in it.

    Args:
        places: (row, column) of each block of the sheet in the picture's grid.
        samples: (H, W, 3), of the window.
    """
    columns = sheet.shape[1] // BLOCK
    for index, place in enumerate(places):
        block, cell = _block(place), _block(divmod(index, columns))
        if block.meets(window):
            shown = block.common(window)
            samples[_slices(shown, window)] = sheet[_slices(cell)][_slices(shown, block)]


def _completed(block: Samples) -> Samples:
    """Return a block that the picture's edge may cut, with its last row and column repeated."""
    beyond = ((0, BLOCK - block.shape[0]), (0, BLOCK - block.shape[1]), (0, 0))
    return np.pad(block, beyond, mode="edge")


def _block(place: tuple[int, int] | NDArray[np.int64]) -> Rect:
    """Return the pixels of the block at (row, column) of a grid."""
    top, left = (BLOCK * int(at) for at in place)
    return Rect(left, top, left + BLOCK, top + BLOCK)


def _slices(part: Rect, whole: Rect | None = None) -> tuple[slice, slice]:
    """Return the rows and columns of a part within the pixels of a whole."""
    left, top = (whole.left, whole.top) if whole else (0, 0)
    return slice(part.top - top, part.bottom - top), slice(part.left - left, part.right - left)
