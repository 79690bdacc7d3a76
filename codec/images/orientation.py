"""Turning of pictures as EXIF asks for."""

import numpy as np

from codec.images.pixels import Samples

_SWAPS_SIDES, _FLIPS_ROWS, _FLIPS_COLUMNS = (5, 6, 7, 8), (3, 4, 7, 8), (2, 3, 6, 7)  # in this order


def upright(samples: Samples, orientation: int) -> Samples:
    """Return samples (H, W, 3) turned by an EXIF orientation, 1 to 8, in order of memory; 1 leaves them as they are."""
    if orientation in _SWAPS_SIDES:
        samples = samples.swapaxes(0, 1)
    if orientation in _FLIPS_ROWS:
        samples = samples[::-1]
    if orientation in _FLIPS_COLUMNS:
        samples = samples[:, ::-1]
    return np.ascontiguousarray(samples)


def empty_for(height: int, width: int, orientation: int) -> Samples:
    """Return samples (H, W, 3) that are not set, and lie in memory so that `upright` turns them without a copy."""
    swaps = orientation in _SWAPS_SIDES
    samples = np.empty((width, height, 3) if swaps else (height, width, 3), np.uint8)
    if orientation in _FLIPS_COLUMNS:
        samples = samples[:, ::-1]
    if orientation in _FLIPS_ROWS:
        samples = samples[::-1]
    return samples.swapaxes(0, 1) if swaps else samples
