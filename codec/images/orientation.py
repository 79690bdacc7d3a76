"""Turning of pictures as EXIF asks for."""

import numpy as np

from codec.images.pixels import Samples


def upright(samples: Samples, orientation: int) -> Samples:
    """Return samples (H, W, 3) turned by an EXIF orientation, 1 to 8, in order of memory; 1 leaves them as they are."""
    if orientation in (5, 6, 7, 8):
        samples = samples.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return np.ascontiguousarray(samples)
