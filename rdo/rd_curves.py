"""Comparison of rate-distortion curves, with confidence intervals.

Two measures, never mixed: `bd_rate_percent`, mean change of rate at equal quality over a range (negative is better),
and `gain_percent`, a saving at one point (positive is better). The invariant: each is a finite number taken over a
range that both curves reach, or a `ConfigError` that says why there is none.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import Akima1DInterpolator, PchipInterpolator

from codec.errors import ConfigError

Interpolation = Literal["pchip", "akima"]
_SPLINES = {"pchip": PchipInterpolator, "akima": Akima1DInterpolator}


class BdRate(NamedTuple):
    """Mean change of rate at equal quality in percent, negative is better, and the range of PSNR it was taken over.

    `overlap` is that range as a fraction of the narrower curve's own, in 0..1.
    """

    bd_rate_percent: float
    psnr_low_db: float
    psnr_high_db: float
    overlap: float


class Interval(NamedTuple):
    """Confidence interval, in the unit of its statistic."""

    low: float
    high: float


def bd_rate(
    anchor_bpp: ArrayLike,
    anchor_db: ArrayLike,
    test_bpp: ArrayLike,
    test_db: ArrayLike,
    interpolation: Interpolation = "pchip",
) -> BdRate:
    """Return the rate of `test` against `anchor` over the range both reach: log rate, interpolated, averaged over dB.

    Source: Bjontegaard, VCEG-M33, 2001, with the piecewise cubic interpolation of JCTVC-L1100 (`pchip`), or Akima's,
    which keeps closer to curves of few points (Herglotz et al., arXiv:2202.12565).

    Raises:
        ConfigError: a curve has fewer than two points or repeats a quality, or the curves share no range of quality.
    """
    curves = [_curve(anchor_bpp, anchor_db, interpolation), _curve(test_bpp, test_db, interpolation)]
    low = max(float(c.x[0]) for c in curves)
    high = min(float(c.x[-1]) for c in curves)
    if high <= low:
        raise ConfigError(
            f"the curves share no quality: one begins at {low:.2f} dB where the other ends at {high:.2f} dB"
        )
    anchor, test = (float(c.integrate(low, high)) / (high - low) for c in curves)
    narrower = min(float(c.x[-1] - c.x[0]) for c in curves)
    return BdRate(100 * math.expm1(test - anchor), low, high, (high - low) / narrower)


def saving_at_equal_quality(anchor_bpp: ArrayLike, anchor_db: ArrayLike, bpp: float, psnr_db: float) -> float:
    """Return `gain_percent` of one point: bits saved against the anchor's curve (PCHIP, log rate) at the point's PSNR.

    Raises:
        ConfigError: the anchor has fewer than two points, or none on one side of this PSNR.
    """
    curve = _curve(anchor_bpp, anchor_db, "pchip")
    low, high = float(curve.x[0]), float(curve.x[-1])
    if not low <= psnr_db <= high:
        raise ConfigError(f"{psnr_db:.2f} dB lies outside the other curve, {low:.2f} to {high:.2f} dB")
    return -100 * math.expm1(math.log(bpp) - float(curve(psnr_db)))


def paired_bootstrap(
    figure: Callable[[NDArray[np.intp]], float], count: int, resamples: int = 500, level: float = 0.95, seed: int = 0
) -> Interval | None:
    """Return the percentile interval of a statistic over images drawn with replacement, paired by image.

    Resamples without a value are left out; None if they are more than a tenth, or there are fewer than three images.

    Args:
        figure: statistic of the images with the given indices, which repeat, in any order; may raise ConfigError.
        count: number of images.
        level: probability that the interval covers.

    Source: Efron, Annals of Statistics 7(1), 1979.
    """
    if count < 3:
        return None
    drawn = np.sort(np.random.default_rng(seed).integers(0, count, (resamples, count)), axis=1)
    kinds, repeats = np.unique(drawn, axis=0, return_counts=True)  # of few images there are few
    found = []
    for chosen, times in zip(kinds, repeats, strict=True):
        try:
            found += [figure(chosen)] * int(times)
        except ConfigError:
            continue
    if len(found) < 0.9 * resamples:
        return None
    tail = 50 * (1 - level)
    low, high = np.percentile(found, [tail, 100 - tail])
    return Interval(float(low), float(high))


def _curve(bpp: ArrayLike, psnr_db: ArrayLike, interpolation: Interpolation) -> PchipInterpolator:
    """Interpolate log(bpp) as a function of dB."""
    rate, quality = np.asarray(bpp, dtype=float), np.asarray(psnr_db, dtype=float)
    order = np.argsort(quality)
    quality = quality[order]
    if len(quality) < 2 or bool((np.diff(quality) <= 0).any()):
        found = np.round(quality, 2).tolist()
        raise ConfigError(f"a curve needs two or more points of different quality, got {found} dB")
    return _SPLINES[interpolation](quality, np.log(rate[order]))
