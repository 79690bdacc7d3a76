"""Report of a budget: what was spent, what sharing it out gained by estimate, and the operating curve of the folder.

The invariant: sizes and scores of files are measured; what is compared with them is named an estimate, as it comes from
the pictures' operating curves, scaled to pass through the files.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from codec import places
from codec.places import joined
from jobs.budgeting.planning import Share, below_floor, curves, total_bytes
from jobs.budgeting.run import Outcome
from jobs.cli import printable
from rdo.allocation import Curve, Measured, allocate, equal_quality

CURVE_POINTS = 9
BAR_WIDTH = 40  # characters
PLOT = "budget.svg"  # in the output folder


class Point(NamedTuple):
    """Folder at a budget: bytes of all files, sum of distortions, and mean score, NaN where a picture has none."""

    bytes: float
    distortion: float
    score: float


class Curves(NamedTuple):
    """Operating curves of a folder by estimate: at equal slope, at one quality for all, and the files written."""

    equal_slope: list[Point]
    one_quality: list[Point]
    written: Point


def folder_curves(share: Share, written: dict[str, Measured]) -> Curves:
    """Return the operating curves of a folder, at CURVE_POINTS sizes from the least to the most bytes."""
    every = curves(share._replace(floor=None), written)
    least, most = (math.fsum(float(curve.bytes[end]) for curve in every) for end in (0, -1))
    sizes = np.geomspace(least, most, CURVE_POINTS) if most > least else np.array([least])
    equal_slope = [_folder(allocate(every, max(least, float(size))).points) for size in sizes]
    one_quality = [_folder(equal_quality(every, float(size))) for size in sizes]
    return Curves(equal_slope, one_quality, _folder(list(written.values())))


def report(outcome: Outcome, folder: str) -> str:
    """Draw the operating curves in the output folder; return lines that tell what the budget was spent on."""
    if outcome.share is None or not outcome.written:
        return ""
    found = folder_curves(outcome.share, outcome.written)
    drawn = draw(found, folder)
    return f"{text(outcome)}\n{f'the operating curve is in {printable(drawn)}' if drawn else bars(found)}"


def text(outcome: Outcome) -> str:
    """Return the lines that tell what a budget was spent on, and what its sharing out gained."""
    share, written = outcome.share, outcome.written
    assert share is not None, "pictures were measured"
    total, limit = total_bytes(written), share.limit_bytes
    qualities = [file.quality for file in written.values()]
    lines = [
        f"budget {limit:,} bytes: {total:,} written, {100 * (1 - total / limit):.2f} % left; "
        f"qualities {min(qualities):.2f} to {max(qualities):.2f}"
    ]
    if lmbdas := {plan.lmbda for plan in outcome.plans.values() if plan.lmbda is not None}:
        lines.append(f"lambda {statistics.median(lmbdas):.4g} for all")
    lines += _comparisons(share, written)
    if low := below_floor(share, written):
        lines.append(f"{len(low)} below the floor of {share.floor:g}, already at the highest quality: {low[0]}")
    return "\n".join(lines)


def _comparisons(share: Share, written: dict[str, Measured]) -> list[str]:
    """Return a line against one quality for all, and one against as many bytes for each, of the files' total."""
    named = zip(share.pictures, curves(share._replace(floor=None), written), strict=True)
    every = [curve for picture, curve in named if picture.item.input in written]
    if len(every) < 2:
        return []
    total = total_bytes(written)
    others = {
        "one quality for all": equal_quality(every, total),
        "the same bytes for each": [
            curve.at_bytes(size) for curve, size in zip(every, _even(every, total), strict=True)
        ],
    }
    own, lines = _folder(list(written.values())), []
    for name, points in others.items():
        other = _folder(points)
        gains = [] if share.by_score else [f"total distortion {100 * (own.distortion / other.distortion - 1):+.1f} %"]
        if not math.isnan(own.score - other.score):
            gains.append(f"mean SSIMULACRA 2 {own.score - other.score:+.2f}")
        lines.append(f"against {name}, by estimate: {', '.join(gains)}")
    return lines


def _even(every: Sequence[Curve], total: float) -> list[float]:
    """Return sizes that sum up to a total and are equal, but for pictures whose curves end before."""
    low, high = 0.0, float(total)
    for _ in range(60):
        middle = (low + high) / 2
        size = math.fsum(min(max(middle, float(c.bytes[0])), float(c.bytes[-1])) for c in every)
        low, high = (low, middle) if size > total else (middle, high)
    return [low] * len(every)


def _folder(points: Sequence[Measured]) -> Point:
    size, distortion, score = (math.fsum(getattr(p, name) for p in points) for name in ("bytes", "distortion", "score"))
    return Point(size, distortion, score / max(1, len(points)))


def bars(found: Curves) -> str:
    """Return the operating curve as lines of text: bytes, quality and a bar of it; the files written are marked."""
    name, value = quality_axis(found)
    rows = sorted(
        [(p.bytes, value(p), " ") for p in found.equal_slope] + [(found.written.bytes, value(found.written), ">")]
    )
    low, high = min(row[1] for row in rows), max(row[1] for row in rows)
    lines = [f"  {'bytes':>14} {name}"]
    for size, quality, mark in rows:
        filled = round(BAR_WIDTH * (quality - low) / (high - low)) if high > low else 0
        lines.append(f"{mark} {size:>14,.0f} {quality:7.2f} {'#' * (filled + 1)}")
    return "\n".join(lines)


def quality_axis(found: Curves) -> tuple[str, Callable[[Point], float]]:
    """Return the name of what is drawn against bytes, and the function of a point that gives it."""
    if not math.isnan(found.written.score):
        return "mean SSIMULACRA 2", lambda point: point.score
    return "total distortion, dB down", lambda point: -10 * math.log10(max(point.distortion, 1e-9))


def draw(found: Curves, folder: str) -> str | None:
    """Draw the operating curves as an SVG in the output folder; None where matplotlib is not installed."""
    from codec.errors import ConfigError
    from jobs.measuring.plot import check_plot, drawn, plot

    place = joined(folder, PLOT)
    try:
        check_plot(Path(PLOT))
    except ConfigError:
        return None
    name, value = quality_axis(found)
    lines = {
        "equal slope": [(p.bytes, value(p)) for p in found.equal_slope],
        "one quality for all": [(p.bytes, value(p)) for p in found.one_quality],
        "written": [(found.written.bytes, value(found.written))],
    }
    figure = plot(lines, x_label="bytes of all files", y_label=name, x_scale="log", y_scale="linear")
    places.write(place, drawn(figure, PLOT))
    return place
