"""Comparison of rate-distortion curves, with confidence intervals.

Curves give a metric that rises with quality (PSNR or MS-SSIM in dB, SSIMULACRA 2 in points) at each rate. Two measures,
never mixed: `bd_rate_percent`, mean change of rate at equal metric over a range (negative is better), and
`gain_percent`, a saving at one point (positive is better). The invariant: each is a finite number taken over a range
that both curves reach, or a `ConfigError` that says why there is none.
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
    """Mean change of rate at equal metric in percent, negative is better, and the metric's range it was taken over.

    `overlap` is that range as a fraction of the narrower curve's own, in 0..1.
    """

    bd_rate_percent: float
    metric_low: float
    metric_high: float
    overlap: float


class NotMonotoneError(ConfigError):
    """Curve whose metric falls somewhere as the rate grows: it has several rates at one quality."""


class Interval(NamedTuple):
    """Confidence interval, in the unit of its statistic."""

    low: float
    high: float


def bd_rate(
    anchor_bpp: ArrayLike,
    anchor_metric: ArrayLike,
    test_bpp: ArrayLike,
    test_metric: ArrayLike,
    *,
    interpolation: Interpolation = "pchip",
    unit: str = "dB",
    names: tuple[str, str] = ("the anchor's curve", "the tested curve"),
) -> BdRate:
    """Return the rate of `test` against `anchor` over the range both reach: log rate, interpolated, averaged over it.

    Args:
        anchor_bpp, test_bpp: rates, in any order.
        anchor_metric, test_metric: PSNR, or another metric that rises with quality, at each rate.
        interpolation: piecewise cubic interpolation of the logarithm of the rate.
        unit: unit of the metric, for messages.
        names: names of the two curves, for messages.

    Source: Bjontegaard, VCEG-M33, 2001, with the piecewise cubic interpolation of JCTVC-L1100 (`pchip`), or Akima's,
    which keeps closer to curves of few points (Herglotz et al., arXiv:2202.12565).

    Raises:
        NotMonotoneError: a curve falls as its rate grows.
        ConfigError: a curve has fewer than two points or repeats a quality, or the curves share no range of quality.
    """
    curves = [
        _curve(bpp, metric, interpolation, unit=unit, name=name)
        for bpp, metric, name in zip((anchor_bpp, test_bpp), (anchor_metric, test_metric), names, strict=True)
    ]
    low = max(float(c.x[0]) for c in curves)
    high = min(float(c.x[-1]) for c in curves)
    if high <= low:
        raise ConfigError(
            f"the curves share no quality: one begins at {low:.2f} {unit} where the other ends at {high:.2f} {unit}"
        )
    anchor, test = (float(c.integrate(low, high)) / (high - low) for c in curves)
    narrower = min(float(c.x[-1] - c.x[0]) for c in curves)
    return BdRate(100 * math.expm1(test - anchor), low, high, (high - low) / narrower)


def saving_at_equal_quality(
    anchor_bpp: ArrayLike,
    anchor_metric: ArrayLike,
    bpp: float,
    metric: float,
    *,
    unit: str = "dB",
    name: str = "the anchor's curve",
) -> float:
    """Return `gain_percent` of one point: bits saved against the anchor's curve (PCHIP, log rate) at equal metric.

    `unit` of the metric and `name` of the curve are for messages.

    Raises:
        NotMonotoneError: the anchor falls as its rate grows.
        ConfigError: the anchor has fewer than two points, or none on one side of this quality.
    """
    curve = _curve(anchor_bpp, anchor_metric, "pchip", unit=unit, name=name)
    low, high = float(curve.x[0]), float(curve.x[-1])
    if not low <= metric <= high:
        raise ConfigError(f"{metric:.2f} {unit} lies outside the other curve, {low:.2f} to {high:.2f} {unit}")
    return -100 * math.expm1(math.log(bpp) - float(curve(metric)))


def paired_bootstrap(
    figure: Callable[[NDArray[np.intp]], float], count: int, *, resamples: int = 500, level: float = 0.95, seed: int = 0
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


def _curve(
    bpp: ArrayLike, metric: ArrayLike, interpolation: Interpolation, *, unit: str, name: str
) -> PchipInterpolator:
    """Interpolate log(bpp) as a function of the metric."""
    rate, quality = np.asarray(bpp, dtype=float), np.asarray(metric, dtype=float)
    order = np.lexsort((quality, rate))
    rate, quality = rate[order], quality[order]
    steps = np.diff(quality)
    falls = np.flatnonzero(steps < 0)
    if len(falls):
        at, digits = falls[0], _digits(steps[falls[0]])
        pair = [f"{quality[i]:.{digits}f} {unit} at {rate[i]:.4g} bpp" for i in (at, at + 1)]
        raise NotMonotoneError(f"{name} is not monotone: {', '.join(pair)}")
    if len(quality) < 2 or bool((steps == 0).any()):
        found = np.round(quality, 2).tolist()
        raise ConfigError(f"a curve needs two or more points of different quality, got {found} {unit}")
    return _SPLINES[interpolation](quality, np.log(rate))


def _digits(step: float) -> int:
    """Return how many decimals show a step: one where they do, and at most six."""
    return min(6, max(1, math.ceil(-math.log10(abs(step)))))
