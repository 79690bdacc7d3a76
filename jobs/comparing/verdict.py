"""Verdict of a report in a sentence or two: how refined files compare with what a reader would use instead.

The invariant: it says no more than the report's figures do. A comparison without a figure is named as one, and one
whose interval reaches from smaller to larger is called undecided.
"""

from collections.abc import Sequence
from typing import NamedTuple

from jobs.comparing.comparison import OVERLAP_MIN, Comparison
from jobs.comparing.metrics import BUTTERAUGLI, PSNR, SSIMULACRA2, Metric
from jobs.comparing.notes import joined
from jobs.comparing.points import PLAIN, REFINED
from jobs.comparing.savings import AtQuality, Saving
from rdo.rd_curves import Interval

SAME_PERCENT = 0.5  # difference of bytes below which files count as equally large


class _Against(NamedTuple):
    """Change of bytes against another codec in percent, its interval, and the pictures and share of curves it is of."""

    codec: str
    percent: float
    interval: Interval | None
    images: int
    overlap: float = 1.0


def lead_metric(comparisons: Sequence[Comparison]) -> Metric:
    """Return the metric that a report opens with: the eye's where Butteraugli is measured, as of files tuned for it."""
    measured = {c.metric for c in comparisons}
    return SSIMULACRA2 if {SSIMULACRA2.name, BUTTERAUGLI.name} <= measured else PSNR


def verdict(
    comparisons: Sequence[Comparison], qualities: Sequence[AtQuality], *, steps: int, default_steps: int
) -> str:
    """Compare refined files with those of every classical codec, the hardest to beat first; with plain ones if none is.

    Args:
        comparisons: on every metric.
        qualities: at each quality; where there is one alone, which has no curve, its savings are compared.
        steps: of refinement, those asked for; 0 is plain encoding.
        default_steps: those of the default effort.
    """
    metric = lead_metric(comparisons)
    ours = [c for c in comparisons if c.codec == REFINED and c.metric == metric.name]
    asked = [c.anchor for c in ours if c.anchor != PLAIN] or [PLAIN] * (steps > 0)
    if not ours or not asked:
        return ""
    found = [_of_curves(c) for c in ours if c.anchor in asked and c.averaged.pchip_percent is not None]
    if len(qualities) == 1:
        [only] = qualities
        savings = {PLAIN: only.saved[metric.name], **only.against_on[metric.name]}
        found = [_of_savings(codec, savings[codec]) for codec in asked if savings[codec].saving_percent is not None]
    known = {against.codec for against in found}
    unknown = [_files_of(codec) for codec in asked if codec not in known]
    sentences = []
    why = "the notes say why" if len(qualities) != 1 else "their curves do not reach it, or fall"
    if found:
        files = "refined files" if steps else "plain files"
        sentences.append(f"At equal {metric.title}, {files} are {_listed(found)}.")
    if found and unknown:
        sentences.append(f"Against {joined(unknown)} there is no figure: {why}.")
    if not found:
        sentences.append(f"There is no verdict at equal {metric.title}: {why}.")
    if steps < default_steps:
        took = f"{steps} step{'s' * (steps > 1)}" if steps else "no refinement"
        sentences.append(f"This is with {took}: the default effort, {default_steps} steps, gains more.")
    return " ".join(sentences)


def _of_curves(c: Comparison) -> _Against:
    """Return the BD-rate of averaged curves, which has a value."""
    assert c.averaged.pchip_percent is not None and c.averaged.overlap is not None
    return _Against(c.anchor, c.averaged.pchip_percent, c.averaged_interval, len(c.images), c.averaged.overlap)


def _of_savings(codec: str, saving: Saving) -> _Against:
    """Return the mean of savings at one quality, which has a value."""
    assert saving.saving_percent is not None
    interval = saving.interval and Interval(-saving.interval.high, -saving.interval.low)
    return _Against(codec, -saving.saving_percent, interval, saving.images)


def _listed(found: list[_Against]) -> str:
    """Return the comparisons as a list, the hardest codec to beat first, each with its pictures where they differ."""
    found = sorted(found, key=lambda against: -against.percent)
    counts = {against.images for against in found}
    if len(counts) > 1:
        return joined([f"{_described(against)} on {_pictures(against.images)}" for against in found])
    these = "this picture" if counts == {1} else f"these {counts.pop()} pictures"
    return f"{joined([_described(against) for against in found])} on {these}"


def _pictures(count: int) -> str:
    return f"{count} picture{'s' * (count != 1)}"


def _described(against: _Against) -> str:
    files, interval = _files_of(against.codec), against.interval
    details = [f"over only {100 * against.overlap:.0f} % of the narrower curve"] * (against.overlap < OVERLAP_MIN)
    if interval and min(interval.low, against.percent) < 0 < max(interval.high, against.percent):
        details.insert(0, f"undecided: {_change(interval.low)} to {_change(interval.high)}")
    elif interval:
        near, far = sorted((abs(interval.low), abs(interval.high)))
        details.insert(0, f"{near:.0f} to {far:.0f}")
    elif not interval:
        details.insert(0, "too few to be sure")
    as_large = abs(against.percent) < SAME_PERCENT
    change = f"as large as {files}" if as_large else f"{_change(against.percent)} than {files}"
    return change + (f" ({', '.join(details)})" if details else "")


def _change(percent: float) -> str:
    return f"{abs(percent):.0f} % {'smaller' if percent < 0 else 'larger'}"


def _files_of(codec: str) -> str:
    return "plain ones" if codec == PLAIN else f"{codec}'s"
