"""Effect of refinement at one quality: fall of cost, and bits saved at equal metric against plain and other codecs."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from codec.errors import ConfigError
from jobs.comparing.comparison import Count, count_wins, interval_of_mean
from jobs.comparing.metrics import METRICS, PSNR, Metric
from jobs.comparing.points import Series
from jobs.record import Record, Score
from rdo.rd_curves import Interval, saving_at_equal_quality


class Saving(NamedTuple):
    """Mean of bits saved at equal metric, positive is better, over `images` pictures whose other curve reaches it.

    `interval` is its 95 % bootstrap interval, of three pictures or more, `least_percent` the least saving of a picture.
    None where no picture's curve reaches it, as it ends before or is not monotone.
    """

    saving_percent: float | None
    images: int
    interval: Interval | None = None
    least_percent: float | None = None


@dataclass(frozen=True)
class AtQuality:
    """Effect of refinement at one quality, as means over its pictures.

    Attributes:
        quality: quality level.
        images: number of pictures.
        gain_percent: fall of cost from plain to refined, positive is better.
        gain_interval: 95 % bootstrap interval of `gain_percent`.
        gain_least_percent: least gain of a picture.
        gain_most_percent: greatest gain of a picture.
        saving_percent: bits saved at the refined file's PSNR against the picture's own plain curve; None with a
            `reason` where no picture has a curve at that PSNR.
        saving_interval: 95 % bootstrap interval of `saving_percent`.
        saving_images: number of pictures with a saving.
        reason: why a picture has no saving.
        bytes_percent: change of the sum of all files' bytes, negative is better.
        psnr_change_db: mean change of PSNR.
        count: pictures with a gain, none, or a loss.
        against: codec -> saving at equal PSNR against its best curves.
        change: metric -> mean change from plain to refined, in its unit.
        saved: metric -> saving at equal metric against the picture's own plain curve.
        against_on: metric -> codec -> saving at equal metric against its best curves.
    """

    quality: float
    images: int
    gain_percent: float
    gain_interval: Interval | None
    gain_least_percent: float
    gain_most_percent: float
    saving_percent: float | None
    saving_interval: Interval | None
    saving_images: int
    reason: str | None
    bytes_percent: float
    psnr_change_db: float | None
    count: Count
    against: dict[str, Saving]
    change: dict[str, float | None]
    saved: dict[str, Saving]
    against_on: dict[str, dict[str, Saving]]


def at_quality(
    quality: float,
    records: list[Record],
    plain: Series,
    peers: Mapping[str, Mapping[str, Series]] = MappingProxyType({}),
) -> AtQuality:
    """Compare refined with plain files at one quality, and refined files with the curves of other codecs.

    Args:
        quality: level whose records are taken.
        records: records of one effort, with an outcome for each picture of this quality.
        plain: curve of plain encoding.
        peers: metric -> codec -> its best curves on that metric.
    """
    pairs = [(r, r.outcome.plain, r.outcome.refined) for r in records if r.quality == quality and r.outcome]
    gains = np.array([r.measured.gain_percent for r, _, _ in pairs])
    refined = [(r.input, score) for r, _, score in pairs]
    savings, reason = _savings(refined, plain, PSNR)
    change = {metric.name: _mean_change([(a, b) for _, a, b in pairs], metric) for metric in METRICS}
    against_on = {
        metric.name: {codec: _saving(refined, curves, metric) for codec, curves in peers.get(metric.name, {}).items()}
        for metric in METRICS
    }
    before, after = sum(a.bytes for _, a, _ in pairs), sum(b.bytes for _, _, b in pairs)
    return AtQuality(
        quality=quality,
        images=len(pairs),
        gain_percent=float(gains.mean()),
        gain_interval=interval_of_mean(gains),
        gain_least_percent=float(gains.min()),
        gain_most_percent=float(gains.max()),
        saving_percent=float(np.mean(savings)) if savings else None,
        saving_interval=interval_of_mean(np.array(savings)),
        saving_images=len(savings),
        reason=reason if len(savings) < len(pairs) else None,
        bytes_percent=100 * (after / before - 1),
        psnr_change_db=change[PSNR.name],
        count=count_wins(gains, 0.0),
        against=against_on[PSNR.name],
        change=change,
        saved={metric.name: _saving(refined, plain, metric) for metric in METRICS},
        against_on=against_on,
    )


def _mean_change(pairs: list[tuple[Score, Score]], metric: Metric) -> float | None:
    """Average a metric's change over the pairs of scores that both have it."""
    values = [(metric.of(before), metric.of(after)) for before, after in pairs]
    changes = [after - before for before, after in values if before is not None and after is not None]
    return float(np.mean(changes)) if changes else None


def _saving(files: list[tuple[str, Score]], other: Series, metric: Metric) -> Saving:
    savings, _ = _savings(files, other, metric)
    if not savings:
        return Saving(None, 0)
    return Saving(float(np.mean(savings)), len(savings), interval_of_mean(np.array(savings)), min(savings))


def _savings(files: list[tuple[str, Score]], other: Series, metric: Metric) -> tuple[list[float], str | None]:
    """Compute bits saved at equal metric by each file within the other codec's curve, and why the last one has none."""
    savings, reason = [], None
    for image, score in files:
        value = metric.of(score)
        if value is None:
            continue
        curve = other.curve(image, metric)
        try:
            savings.append(saving_at_equal_quality(*curve, score.bpp, value, unit=metric.unit, name=other.codec))
        except ConfigError as error:
            reason = str(error)
    return savings, reason
