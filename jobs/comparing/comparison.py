"""BD-rates of one codec against another, with their PSNR range and 95 % confidence intervals.

A BD-rate that cannot be computed is None with a `reason` for the reader. BD-rates come in two kinds that must not be
mixed: of the averaged curves, as papers give them, and the mean over pictures of each picture's own BD-rate.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codec.errors import ConfigError
from jobs.comparing.points import Curve, Series, complete_images
from rdo.rd_curves import Interval, bd_rate, paired_bootstrap

TIE_PERCENT = 0.05  # BD-rate below which a picture counts as a tie
OVERLAP_MIN = 0.75  # share of the narrower curve's PSNR range; below it the report warns


class Count(NamedTuple):
    """Numbers of pictures on which the tested codec is better than, equal to or worse than the anchor."""

    wins: int
    ties: int
    losses: int


@dataclass(frozen=True)
class Delta:
    """Bjøntegaard delta rate by two interpolations, and the PSNR range that it is integrated over.

    `overlap` is that range over the narrower curve's own. All are None, with a `reason`, where the curves cannot be
    compared.
    """

    pchip_percent: float | None = None
    akima_percent: float | None = None
    psnr_low_db: float | None = None
    psnr_high_db: float | None = None
    overlap: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Comparison:
    """BD-rate of a codec against an anchor codec; negative is fewer bits at equal PSNR.

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


@dataclass(frozen=True)
class Published:
    """BD-rate of a codec's averaged curve against a published averaged curve."""

    codec: str
    anchor: str
    delta: Delta


def bjontegaard_delta(*, anchor_bpp: ArrayLike, anchor_db: ArrayLike, bpp: ArrayLike, psnr_db: ArrayLike) -> Delta:
    """Compute the BD-rate of a curve against an anchor's, or give the reason why there is none."""
    try:
        pchip = bd_rate(anchor_bpp, anchor_db, bpp, psnr_db, "pchip")
        akima = bd_rate(anchor_bpp, anchor_db, bpp, psnr_db, "akima")
    except ConfigError as error:
        return Delta(reason=str(error))
    return Delta(
        pchip.bd_rate_percent, akima.bd_rate_percent, pchip.metric_low, pchip.metric_high, overlap=pchip.overlap
    )


def compare_codecs(codec: Series, anchor: Series, with_interval: bool = True) -> Comparison:
    """Compare a codec with an anchor over the pictures that both encoded.

    The bootstrap interval of the averaged curves takes seconds; it is left out unless `with_interval`.
    """
    images = complete_images(codec, anchor)
    shared = sorted(codec.points.keys() & anchor.points.keys())
    per_image = {image: _delta(anchor.curve(image), codec.curve(image)) for image in shared}
    pchip = drop_none(d.pchip_percent for d in per_image.values())
    akima = drop_none(d.akima_percent for d in per_image.values())

    if images:
        a, b = anchor.means(images), codec.means(images)
        averaged = _delta(Curve(a.bpp, a.psnr_db), Curve(b.bpp, b.psnr_db))
    else:
        averaged = Delta(reason="no picture was encoded by both at every setting")
    comparable = with_interval and averaged.reason is None
    return Comparison(
        codec=codec.codec,
        anchor=anchor.codec,
        averaged=averaged,
        averaged_interval=_interval_of_averages(codec, anchor, images) if comparable else None,
        mean_percent=float(pchip.mean()) if len(pchip) else None,
        akima_mean_percent=float(akima.mean()) if len(akima) else None,
        mean_interval=interval_of_mean(pchip),
        count=count_wins(-pchip, TIE_PERCENT),
        compared=len(pchip),
        images=images,
        left_out=sorted((codec.points.keys() | anchor.points.keys()) - set(images)),
        per_image=per_image,
    )


def count_wins(gains: NDArray[np.float64], tie: float) -> Count:
    """Count wins, ties and losses of gains, of which positive is better; those within `tie` of zero are ties."""
    wins, losses = int((gains > tie).sum()), int((gains < -tie).sum())
    return Count(wins, len(gains) - wins - losses, losses)


def _delta(anchor: Curve, curve: Curve) -> Delta:
    return bjontegaard_delta(anchor_bpp=anchor.bpp, anchor_db=anchor.psnr_db, bpp=curve.bpp, psnr_db=curve.psnr_db)


def _interval_of_averages(codec: Series, anchor: Series, images: list[str]) -> Interval | None:
    """Bootstrap the BD-rate of the averaged curves over pictures."""
    (bpp, db), (anchor_bpp, anchor_db) = codec.table(images), anchor.table(images)  # (images, settings) each

    def resampled(chosen: NDArray[np.intp]) -> float:
        a, b = (anchor_bpp[chosen].mean(0), anchor_db[chosen].mean(0)), (bpp[chosen].mean(0), db[chosen].mean(0))
        return bd_rate(*a, *b).bd_rate_percent

    return paired_bootstrap(resampled, len(images))


def interval_of_mean(values: NDArray[np.float64]) -> Interval | None:
    """Bootstrap the mean of one value a picture: 95 % interval, or None where there are too few."""
    return paired_bootstrap(lambda chosen: float(values[chosen].mean()), len(values))


def drop_none(values: Iterable[float | None]) -> NDArray[np.float64]:
    """Return the values that are not None."""
    return np.array([v for v in values if v is not None], dtype=float)
