"""Smooth filling of a part of a picture from what surrounds it, so that a codec spends next to nothing on that part.

Work goes on in bands of rows: beside the result, only pictures of half the size and less take memory.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from codec.images.pixels import Pixels
from codec.images.rows import bands

Planes = NDArray[np.float32]


def filled(pixels: Pixels, missing: NDArray[np.bool_]) -> Pixels:
    """Return a picture whose pixels under the mask `missing` (H, W) continue those around them, ever smoother inwards.

    Where all are missing the picture is white.
    """
    if missing.all():
        return Pixels(np.full_like(pixels.data, 255), pixels.grey)
    data = pixels.data.copy()
    planes = data[..., :1] if pixels.grey else data
    _fill(planes, ~missing[..., None])
    if pixels.grey:
        data[..., 1:] = planes
    return Pixels(data, pixels.grey)


def _fill(values: NDArray[Any], weight: NDArray[Any]) -> None:
    """Fill values (H, W, C) of weight 0, in place, from the means of ever larger squares that have any weight.

    Args:
        values: uint8, or float32 of such means.
        weight: (H, W, 1), 0 to 1.
    """
    height, width = values.shape[:2]
    if weight.all() or (height, width) == (1, 1):
        return
    coarse, weights = _means(values, weight)
    _fill(coarse, weights)
    for band in bands(*coarse.shape[:2]):
        rows = slice(2 * band.start, min(2 * band.stop, height))
        share = weight[rows].astype(np.float32)
        if share.min() < 1:
            smooth = _doubled(coarse, band)[: rows.stop - rows.start, :width]
            found = share * values[rows] + (1 - share) * smooth
            values[rows] = found.round() if values.dtype == np.uint8 else found


def _means(values: NDArray[Any], weight: NDArray[Any]) -> tuple[Planes, Planes]:
    """Return the weighted means of squares of 2x2 values (H, W, C), and their weights (H, W, 1), 1 for that of one."""
    height, width = (-(-side // 2) for side in values.shape[:2])
    means, weights = (np.empty((height, width, v.shape[2]), np.float32) for v in (values, weight))
    for band in bands(height, width):
        rows = slice(2 * band.start, 2 * band.stop)
        share = weight[rows].astype(np.float32)
        quarter = _halved(share)
        means[band] = _halved(values[rows] * share) / np.maximum(quarter, 1e-6)
        weights[band] = np.minimum(1, 4 * quarter)
    return means, weights


def _halved(planes: Planes) -> Planes:
    """Return the means of squares of 2x2 values of (H, W, C); beyond an odd edge they are 0."""
    even = np.pad(planes, ((0, planes.shape[0] % 2), (0, planes.shape[1] % 2), (0, 0)))
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4


def _doubled(planes: Planes, rows: slice) -> Planes:
    """Return some rows of (H, W, C), interpolated linearly to twice the size in both directions."""
    around = np.arange(rows.start - 1, rows.stop + 1).clip(0, len(planes) - 1)
    across = np.arange(-1, planes.shape[1] + 1).clip(0, planes.shape[1] - 1)
    tall = _interpolated(planes[around], 0)
    return _interpolated(tall[:, across], 1)


def _interpolated(planes: Planes, axis: int) -> Planes:
    """Return two values for each along an axis but the first and the last, which serve as neighbours alone."""
    count = planes.shape[axis] - 2
    before, own, after = (planes.take(range(start, start + count), axis) for start in range(3))
    both = np.stack([3 * own + before, 3 * own + after], axis + 1) / 4
    shape = list(own.shape)
    shape[axis] *= 2
    found: Planes = both.reshape(shape)
    return found
