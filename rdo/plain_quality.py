"""Quality at which plain encoding measures what is aimed at: the first guess of a target search.

Measured values rise with quality on photographs, almost linearly, so secants find it in a few passes. On drawings and
flat colours they may fall; then whole qualities are tried, and the lowest interval that holds the aim is halved. The
invariant: nothing that was measured is nearer than what is returned, but for a tie, which the lower quality wins.
"""

from collections.abc import Callable
from itertools import pairwise

from codec.architecture import QUALITY_FIRST, QUALITY_LAST, on_header_grid
from rdo.measurement import Measurement

SECANTS_MAX, HALVINGS_MAX = 8, 8
QUALITY_TOLERANCE = 0.01
TIE_LEVELS = 0.25  # of a typical level's rise
CLOSE_LEVELS = 0.03  # of a typical level's rise: a refinement's own change and its trims are larger
QUALITY_INITIAL = 4.0


def find_plain_quality(measurement: Measurement, aim: float) -> tuple[float, float]:
    """Find the quality in 1..8 at which the measured value of plain encoding is nearest to `aim`.

    Args:
        aim: log(bytes), PSNR in dB, or points of SSIMULACRA 2.

    Returns:
        The quality, on the grid that a file's header holds, and the measured value there.
    """
    seen: dict[float, float] = {}

    def measure(quality: float) -> float:
        quality = on_header_grid(quality)
        if quality not in seen:
            seen[quality] = measurement.measure_plain(quality)
        return seen[quality]

    def nearest() -> tuple[float, float]:
        least = min(abs(measured - aim) for measured in seen.values())
        most = close if least <= close else least + tie
        return min(point for point in seen.items() if abs(point[1] - aim) <= most)

    rise = measurement.goal.slopes.quality
    close, tie = CLOSE_LEVELS * rise, TIE_LEVELS * rise
    _follow_secants(measure, aim, rise)
    quality, measured = nearest()
    beyond = measurement.goal.kind == "bytes" and quality in (QUALITY_FIRST, QUALITY_LAST) and _rises(seen)
    if abs(measured - aim) <= close or beyond:  # sizes hardly ever fall: a ceiling above the scale needs no more passes
        return quality, measured
    for level in range(int(QUALITY_FIRST), int(QUALITY_LAST) + 1):
        measure(level)
    brackets = [(a, b) for a, b in pairwise(sorted(seen)) if (seen[a] - aim) * (seen[b] - aim) <= 0]
    if brackets:
        low, high = brackets[0]
        for _ in range(HALVINGS_MAX):
            if abs(nearest()[1] - aim) <= close:
                break
            middle = on_header_grid((low + high) / 2)
            low, high = (low, middle) if (measure(middle) - aim) * (seen[low] - aim) <= 0 else (middle, high)
    return nearest()


def clamp_quality(quality: float) -> float:
    """Return the nearest quality in 1..8."""
    return min(QUALITY_LAST, max(QUALITY_FIRST, quality))


def _follow_secants(measure: Callable[[float], float], aim: float, slope: float) -> None:
    """Measure at ever better guesses, until they stay where they are; `slope` is the first guess of the rise."""
    quality, before = QUALITY_INITIAL, None
    for _ in range(SECANTS_MAX):
        measured = measure(quality)
        if before is not None and abs(quality - before[0]) > 1e-3:
            rise = (measured - before[1]) / (quality - before[0])
            slope = rise if rise > 0 else slope
        before, wanted = (quality, measured), clamp_quality(quality + (aim - measured) / slope)
        if abs(wanted - quality) < QUALITY_TOLERANCE:
            return
        quality = wanted


def _rises(points: dict[float, float]) -> bool:
    """Tell whether measured values rise with quality."""
    return all(points[a] <= points[b] for a, b in pairwise(sorted(points)))
