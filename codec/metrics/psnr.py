"""Mean squared error and PSNR of 8-bit pictures, on the scale 0..255: the numbers of reports and records."""

import math

import numpy as np

from codec.images.pixels import Pixels

PEAK = 255
BAND_ROWS = 256


def mse(original: Pixels, decoded: Pixels) -> float:
    """Return the mean squared error over all samples, on the scale 0..255."""
    total = 0  # exact, in bands of rows, as memory is a multiple of their samples
    for top in range(0, original.height, BAND_ROWS):
        rows = slice(top, top + BAND_ROWS)
        difference = original.data[rows].astype(np.int16) - decoded.data[rows]  # (rows, W, 3)
        total += int(np.square(difference, dtype=np.int32).sum(dtype=np.int64))
    return total / original.data.size


def psnr_db(original: Pixels, decoded: Pixels) -> float | None:
    """Return the peak signal-to-noise ratio in dB; None for identical pictures, whose PSNR is infinite."""
    error = mse(original, decoded)
    return psnr_db_of_mse(error) if error else None


def psnr_db_of_mse(error: float) -> float:
    """Return 10 log10(255^2 / mse), in dB, of a positive mean squared error on the scale 0..255."""
    return 10 * math.log10(PEAK**2 / error)
