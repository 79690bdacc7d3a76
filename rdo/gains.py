"""Comparing rate-distortion curves: the Bjontegaard delta rate."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import PchipInterpolator

from codec.errors import ConfigError


class BdRate(NamedTuple):
    """Mean change of rate at equal quality, negative is better, and the qualities it was taken over."""

    bd_rate_percent: float
    psnr_low_db: float
    psnr_high_db: float


def bd_rate(anchor_bpp: ArrayLike, anchor_db: ArrayLike, test_bpp: ArrayLike, test_db: ArrayLike) -> BdRate:
    """Rate of `test` against `anchor` over the qualities both reach: log rate, interpolated by PCHIP, averaged over dB.

    Source: Bjontegaard, VCEG-M33, 2001, with the piecewise cubic interpolation of JCTVC-L1100.

    Raises:
        ConfigError: a curve has fewer than two points or repeats a quality, or the curves share no range of quality.
    """
    curves = [_curve(anchor_bpp, anchor_db), _curve(test_bpp, test_db)]
    low = max(float(c.x[0]) for c in curves)
    high = min(float(c.x[-1]) for c in curves)
    if high <= low:
        raise ConfigError(
            f"the curves share no quality: one begins at {low:.2f} dB where the other ends at {high:.2f} dB"
        )
    anchor, test = (float(c.integrate(low, high)) / (high - low) for c in curves)
    return BdRate(100 * float(np.expm1(test - anchor)), low, high)


def _curve(bpp: ArrayLike, psnr_db: ArrayLike) -> PchipInterpolator:
    """log(bpp) as a function of dB."""
    rate, quality = np.asarray(bpp, dtype=float), np.asarray(psnr_db, dtype=float)
    order = np.argsort(quality)
    quality = quality[order]
    if len(quality) < 2 or bool((np.diff(quality) <= 0).any()):
        raise ConfigError(f"a curve needs two or more points of different quality, got {quality.tolist()} dB")
    return PchipInterpolator(quality, np.log(rate[order]))
