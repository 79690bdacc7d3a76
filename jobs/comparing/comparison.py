"""BD-rates of one codec against another on a metric, with their range of it and 95 % confidence intervals.

A BD-rate that cannot be computed, as of a curve that is not monotone, is None with a `reason` for the reader. BD-rates
come in two kinds that must not be mixed: of the averaged curves, as papers give them, and the mean over pictures of
each picture's own BD-rate.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.errors import ConfigError
from jobs.comparing.ladders import codec_of
from jobs.comparing.metrics import PSNR, Metric
from jobs.comparing.points import Curve, Series, complete_images
from rdo.rd_curves import Interpolation, Interval, NotMonotoneError, bd_rate, paired_bootstrap

INTERPOLATIONS: tuple[Interpolation, Interpolation] = ("pchip", "akima")
TIE_PERCENT = 0.05  # BD-rate below which a picture counts as a tie
OVERLAP_MIN = 0.75  # share of the narrower curve's range of the metric; below it the report warns


class Count(NamedTuple):
    """Numbers of pictures on which the tested codec is better than, equal to or worse than the anchor."""

    wins: int
    ties: int
    losses: int


@dataclass(frozen=True)
class Delta:
    """Bjøntegaard delta rate by two interpolations, and the range of the metric that it is integrated over.

    `overlap` is that range over the narrower curve's own; `psnr_low_db` and `psnr_high_db` are that range where the
    metric is PSNR. All are None, with a `reason`, where the curves cannot be compared; `monotone` says whether the
    reason is another than a curve that falls.
    """

    pchip_percent: float | None = None
    akima_percent: float | None = None
    psnr_low_db: float | None = None
    psnr_high_db: float | None = None
    overlap: float | None = None
    reason: str | None = None
    metric_low: float | None = None
    metric_high: float | None = None
    monotone: bool = True


@dataclass(frozen=True)
class Comparison:
    """BD-rate of a codec against an anchor codec on one metric; negative is fewer bits at equal metric.

    Attributes:
        codec: name of the tested codec.
        anchor: name of the codec it is compared with.
        averaged: BD-rate of the curves averaged over `images`.
        averaged_interval: 95 % bootstrap interval of the PCHIP value, pictures resampled in pairs.
        mean_percent: mean of the pictures' own BD-rates by PCHIP.
        akima_mean_percent: mean of the pictures' own BD-rates by Akima interpolation.
        mean_interval: 95 % bootstrap interval of `mean_percent`.
        count: wins, ties and losses by the pictures' own BD-rates.
        compared: number of pictures with a BD-rate of their own.
        images: pictures that both codecs encoded at every setting.
        left_out: pictures that one of the codecs lacks at some setting.
        per_image: picture -> its own BD-rate.
        metric: name of the metric.
        ladder: name of the anchor's curve, of a codec with several ladders the best on this metric.
    """

    codec: str
    anchor: str
    averaged: Delta
    averaged_interval: Interval | None
    mean_percent: float | None
    akima_mean_percent: float | None
    mean_interval: Interval | None
    count: Count
    compared: int
    images: list[str]
    left_out: list[str]
    per_image: dict[str, Delta]
    metric: str
    ladder: str


@dataclass(frozen=True)
class Published:
    """BD-rate, on PSNR, of a codec's averaged curve against a published averaged curve."""

    codec: str
    anchor: str
    delta: Delta


def bjontegaard_delta(anchor: Curve, curve: Curve, *, names: tuple[str, str], metric: Metric = PSNR) -> Delta:
    """Compute the BD-rate of a curve against an anchor's, or give the reason why there is none.

    `names` are those of the anchor and the curve, for the reason.
    """
    try:
        pchip, akima = (
            bd_rate(*anchor, *curve, interpolation=interpolation, unit=metric.unit, names=names)
            for interpolation in INTERPOLATIONS
        )
    except ConfigError as error:
        return Delta(reason=str(error), monotone=not isinstance(error, NotMonotoneError))
    low, high = pchip.metric_low, pchip.metric_high
    return Delta(
        pchip.bd_rate_percent,
        akima.bd_rate_percent,
        psnr_low_db=low if metric == PSNR else None,
        psnr_high_db=high if metric == PSNR else None,
        overlap=pchip.overlap,
        metric_low=low,
        metric_high=high,
    )


def compare_codecs(codec: Series, anchor: Series, metric: Metric = PSNR, *, with_interval: bool = True) -> Comparison:
    """Compare a codec with an anchor over the pictures that both encoded.

    The bootstrap interval of the averaged curves takes a second; it is left out unless `with_interval`.
    """
    images = complete_images(codec, anchor, metric=metric)
    names = (anchor.codec, codec.codec)
    shared = sorted(codec.points.keys() & anchor.points.keys())
    per_image = {
        image: bjontegaard_delta(anchor.curve(image, metric), codec.curve(image, metric), names=names, metric=metric)
        for image in shared
    }
    pchip = drop_none(d.pchip_percent for d in per_image.values())
    akima = drop_none(d.akima_percent for d in per_image.values())

    if images:
        means = anchor.average(images, metric), codec.average(images, metric)
        averaged = bjontegaard_delta(*means, names=names, metric=metric)
    else:
        averaged = Delta(reason="no picture was encoded by both at every setting")
    comparable = with_interval and averaged.reason is None
    return Comparison(
        codec=codec.codec,
        anchor=codec_of(anchor.codec),
        averaged=averaged,
        averaged_interval=_interval_of_averages(codec, anchor, images, metric) if comparable else None,
        mean_percent=float(pchip.mean()) if len(pchip) else None,
        akima_mean_percent=float(akima.mean()) if len(akima) else None,
        mean_interval=interval_of_mean(pchip),
        count=count_wins(-pchip, TIE_PERCENT),
        compared=len(pchip),
        images=images,
        left_out=sorted((codec.points.keys() | anchor.points.keys()) - set(images)),
        per_image=per_image,
        metric=metric.name,
        ladder=anchor.codec,
    )


def count_wins(gains: NDArray[np.float64], tie: float) -> Count:
    """Count wins, ties and losses of gains, of which positive is better; those within `tie` of zero are ties."""
    wins, losses = int((gains > tie).sum()), int((gains < -tie).sum())
    return Count(wins, len(gains) - wins - losses, losses)


def _interval_of_averages(codec: Series, anchor: Series, images: list[str], metric: Metric) -> Interval | None:
    """Bootstrap the BD-rate of the averaged curves over pictures."""
    tables = *anchor.table(images, metric), *codec.table(images, metric)  # four of (images, settings)

    def resampled(chosen: NDArray[np.intp]) -> float:
        anchor_bpp, anchor_values, bpp, values = (table[chosen].mean(0) for table in tables)
        return bd_rate(anchor_bpp, anchor_values, bpp, values).bd_rate_percent

    return paired_bootstrap(resampled, len(images))


def interval_of_mean(values: NDArray[np.float64]) -> Interval | None:
    """Bootstrap the mean of one value a picture: 95 % interval, or None where there are too few."""
    return paired_bootstrap(lambda chosen: float(values[chosen].mean()), len(values))


def drop_none(values: Iterable[float | None]) -> NDArray[np.float64]:
    """Return the values that are not None."""
    return np.array([v for v in values if v is not None], dtype=float)
