"""Smooth filling of a part of a picture from what surrounds it, so that a codec spends next to nothing on that part."""

import numpy as np
from numpy.typing import NDArray

from codec.images.pixels import Pixels

Planes = NDArray[np.float32]


def filled(pixels: Pixels, missing: NDArray[np.bool_]) -> Pixels:
    """Return a picture whose pixels under the mask `missing` (H, W) continue those around them, ever smoother inwards.

    Where all are missing the picture is white.
    """
    if missing.all():
        return Pixels(np.full_like(pixels.data, 255), pixels.grey)
    planes = pixels.data[..., :1] if pixels.grey else pixels.data
    found = _pushed_and_pulled(planes.astype(np.float32), (~missing)[..., None].astype(np.float32))
    data = np.where(missing[..., None], found.round().astype(np.uint8), pixels.data)
    return Pixels(data, pixels.grey)


def _pushed_and_pulled(values: Planes, weight: Planes) -> Planes:
    """Fill values (H, W, C) of weight 0 from the means of ever larger squares that have any weight."""
    height, width = values.shape[:2]
    if weight.all() or (height, width) == (1, 1):
        return values
    weights = _halved(weight)
    means = _halved(values * weight) / np.maximum(weights, 1e-6)
    coarse = _pushed_and_pulled(means, np.minimum(1, 4 * weights))
    return weight * values + (1 - weight) * _doubled(coarse)[:height, :width]


def _halved(planes: Planes) -> Planes:
    """Return the means of squares of 2x2 values of (H, W, C)."""
    even = np.pad(planes, ((0, planes.shape[0] % 2), (0, planes.shape[1] % 2), (0, 0)))
    return (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4


def _doubled(planes: Planes) -> Planes:
    """Return (H, W, C) interpolated linearly to twice the size."""
    for axis in (0, 1):
        ends = np.concatenate([planes.take([0], axis), planes, planes.take([-1], axis)], axis)
        count = planes.shape[axis]
        before, after = (ends.take(range(start, start + count), axis) for start in (0, 2))
        both = np.stack([3 * planes + before, 3 * planes + after], axis + 1) / 4
        shape = list(planes.shape)
        shape[axis] *= 2
        planes = both.reshape(shape)
    return planes
