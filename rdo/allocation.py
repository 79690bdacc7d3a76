"""Allocation of one budget of bytes to many pictures: all at one slope, which is where the sum of distortions is least.

    minimise  sum_i D_i(b_i)  subject to  sum_i b_i <= budget        =>        -dD_i / db_i = slope, the same for all

Each picture has an operating curve: bytes b and distortion D at every quality, interpolated between a few encodings
that were measured. Only its lower convex hull can hold the optimum (Everett 1963; Shoham and Gersho, "Efficient bit
allocation for an arbitrary set of quantizers", 1988), so the point of a picture at a slope is the vertex that minimises
D + slope * b, and the sum of bytes falls as the slope rises. The invariant: an allocation never exceeds its budget.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from codec.errors import ConfigError

Values = NDArray[np.float64]

SAMPLES_PER_LEVEL = 32  # of an operating curve, for each whole quality; neighbours differ by about 0.8 % in bytes
HALVINGS = 40  # of the interval of log(slope)


class Measured(NamedTuple):
    """One encoding of a picture that was measured.

    Attributes:
        quality: 1..8.
        bytes: size of its file.
        distortion: what is to be small in sum over all pictures, in any unit, at least 0.
        score: quality that floors are given in, rising; NaN where it is not known.
    """

    quality: float
    bytes: float
    distortion: float
    score: float = math.nan


class Change(NamedTuple):
    """Difference that refinement makes at a quality: factors on bytes and distortion, and a shift of the score."""

    bytes: float = 1.0
    distortion: float = 1.0
    score: float = 0.0


@dataclass(frozen=True)
class Curve:
    """Operating curve of a picture: its lower convex hull, (n,) each, by ascending bytes and falling distortion."""

    quality: Values
    bytes: Values
    distortion: Values
    score: Values

    def at(self, slope: float) -> int:
        """Return the index of the vertex of least distortion + slope * bytes; of equal ones, that of least bytes."""
        return int(np.argmin(self.distortion + slope * self.bytes))

    def at_bytes(self, size: float) -> Measured:
        """Return the point of a size on the hull, its end where the hull does not reach that far."""
        return Measured(*(float(np.interp(size, self.bytes, v)) for v in _columns(self)))

    @property
    def slopes(self) -> Values:
        """Fall of distortion per byte along each edge of the hull, (n - 1,), descending."""
        return -np.diff(self.distortion) / np.diff(self.bytes)


@dataclass(frozen=True)
class Allocation:
    """Points of all pictures at one slope, within a budget.

    Attributes:
        slope: distortion per byte, the same for all; infinite where all have their least bytes, 0 where all have their
            most.
        points: one for each curve, in their order.
    """

    slope: float
    points: tuple[Measured, ...]

    @property
    def bytes(self) -> float:
        """Bytes of all pictures."""
        return math.fsum(point.bytes for point in self.points)

    @property
    def distortion(self) -> float:
        """Sum of the distortions of all pictures."""
        return math.fsum(point.distortion for point in self.points)


def interpolated(measured: Sequence[Measured]) -> list[Measured]:
    """Interpolate between measured encodings, in log(bytes) and log(distortion), which are almost linear in quality.

    Args:
        measured: at least one, in any order; of one quality the last counts.

    Returns:
        Points at SAMPLES_PER_LEVEL qualities a level, both ends included.
    """
    points = sorted({point.quality: point for point in measured}.values())
    if len(points) == 1:
        return points
    quality, size, distortion, score = (np.array(values, np.float64) for values in zip(*points, strict=True))
    samples = math.ceil((quality[-1] - quality[0]) * SAMPLES_PER_LEVEL) + 1
    at = np.union1d(np.linspace(quality[0], quality[-1], samples), quality)
    sizes = np.exp(PchipInterpolator(quality, np.log(size))(at))
    if (distortion > 0).all():
        distortions = np.exp(PchipInterpolator(quality, np.log(distortion))(at))
    else:  # a picture that some quality codes without an error
        distortions = np.interp(at, quality, distortion)
    scores = PchipInterpolator(quality, score)(at) if np.isfinite(score).all() else np.full_like(at, math.nan)
    return [Measured(*map(float, row)) for row in zip(at, sizes, distortions, scores, strict=True)]


def point_at(measured: Sequence[Measured], quality: float) -> Measured:
    """Interpolate between measured encodings at one quality; beyond their ends, return the nearest."""
    points = interpolated(measured)
    at, *others = (np.array(values) for values in zip(*points, strict=True))
    return Measured(float(np.clip(quality, at[0], at[-1])), *(float(np.interp(quality, at, v)) for v in others))


def change_between(predicted: Measured, written: Measured) -> Change:
    """Return the change from a predicted point to a written file."""
    distortion = written.distortion / predicted.distortion if min(written.distortion, predicted.distortion) > 0 else 1.0
    shift = written.score - predicted.score
    return Change(written.bytes / predicted.bytes, distortion, 0.0 if math.isnan(shift) else shift)


def mean_change(changes: Sequence[Change]) -> Change:
    """Return the geometric mean of factors and the mean of shifts; of no changes, none at all."""
    if not changes:
        return Change()
    size, distortion, score = zip(*changes, strict=True)
    return Change(statistics.geometric_mean(size), statistics.geometric_mean(distortion), statistics.fmean(score))


def changed(measured: Sequence[Measured], change: Change) -> list[Measured]:
    """Apply a change to all encodings: what it is at one quality it is much alike at the neighbouring ones."""
    return [
        Measured(m.quality, m.bytes * change.bytes, m.distortion * change.distortion, m.score + change.score)
        for m in measured
    ]


def operating_curve(measured: Sequence[Measured], floor: float | None = None) -> Curve:
    """Return the operating curve of a picture from a few encodings.

    Args:
        measured: at least one encoding.
        floor: least score. A picture that reaches it nowhere has the point of its highest score alone; one whose scores
            are not known is not held by it.
    """
    points = interpolated(measured)
    if floor is not None and not math.isnan(points[0].score):
        points = [point for point in points if point.score >= floor] or [max(points, key=lambda point: point.score)]
    return Curve(*(np.array(values) for values in zip(*_lower_hull(points), strict=True)))


def _lower_hull(points: Sequence[Measured]) -> list[Measured]:
    """Return the vertices of the lower convex hull that lie on falling edges, by ascending bytes."""
    hull: list[Measured] = []
    for point in sorted(points, key=lambda p: (p.bytes, p.distortion)):
        if hull and point.distortion >= hull[-1].distortion:
            continue  # no better, and not smaller
        while len(hull) > 1 and _is_above(hull[-2], hull[-1], point):
            hull.pop()
        hull.append(point)
    return hull


def _is_above(left: Measured, middle: Measured, right: Measured) -> bool:
    """Tell whether `middle` lies on or above the line from `left` to `right`."""
    rise = (right.distortion - left.distortion) * (middle.bytes - left.bytes)
    return (middle.distortion - left.distortion) * (right.bytes - left.bytes) >= rise


def allocate(curves: Sequence[Curve], budget: float) -> Allocation:
    """Allocate a budget of bytes to pictures at equal slope: the sum of their distortions is the least that it allows.

    Between the two slopes next to each other of which one exceeds the budget, bytes are interpolated, so that the
    budget is met, unless all pictures have their most bytes before.

    Raises:
        ConfigError: the budget is below the least bytes of all pictures together.
    """
    least = math.fsum(curve.bytes[0] for curve in curves)
    if budget < least:
        raise ConfigError(f"a budget of {math.floor(budget):,} bytes is too small: the least is {math.ceil(least):,}")
    most = tuple(_vertex(curve, -1) for curve in curves)
    if math.fsum(point.bytes for point in most) <= budget:
        return Allocation(0.0, most)
    slopes = np.concatenate([curve.slopes for curve in curves])
    low, high = math.log(slopes.min()) - 1, math.log(slopes.max()) + 1  # too many bytes, and the least
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if _bytes_at(curves, math.exp(middle)) > budget:
            low = middle
        else:
            high = middle
    indices = [(curve.at(math.exp(high)), curve.at(math.exp(low))) for curve in curves]
    below = _bytes_at(curves, math.exp(high))
    above = _bytes_at(curves, math.exp(low))
    fraction = (budget - below) / (above - below)
    points = tuple(_between(curve, *pair, fraction) for curve, pair in zip(curves, indices, strict=True))
    return Allocation(math.exp(high), points)


def equal_quality(curves: Sequence[Curve], budget: float) -> tuple[Measured, ...]:
    """Return the points of all pictures at the one quality that fills a budget: what an allocation is compared with.

    Each is on its picture's hull; at an end of the scale, and under a floor, a picture has the nearest point that its
    curve holds.
    """
    low, high = (float(f([curve.quality[end] for curve in curves])) for f, end in ((min, 0), (max, -1)))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        size = math.fsum(_at_quality(curve, middle).bytes for curve in curves)
        low, high = (low, middle) if size > budget else (middle, high)
    return tuple(_at_quality(curve, low) for curve in curves)


def _at_quality(curve: Curve, quality: float) -> Measured:
    order = np.argsort(curve.quality)
    return Measured(*(float(np.interp(quality, curve.quality[order], v[order])) for v in _columns(curve)))


def _columns(curve: Curve) -> tuple[Values, Values, Values, Values]:
    return curve.quality, curve.bytes, curve.distortion, curve.score


def _bytes_at(curves: Sequence[Curve], slope: float) -> float:
    return math.fsum(float(curve.bytes[curve.at(slope)]) for curve in curves)


def _vertex(curve: Curve, index: int) -> Measured:
    return Measured(*(float(v[index]) for v in _columns(curve)))


def _between(curve: Curve, low: int, high: int, fraction: float) -> Measured:
    """Return the point at a fraction of the bytes between two vertices."""
    return curve.at_bytes(float((1 - fraction) * curve.bytes[low] + fraction * curve.bytes[high]))
