"""Figures of a report: BD-rates and savings with their PSNR range and 95 % confidence intervals.

A figure that cannot be computed is None with a `reason` for the reader. BD-rates come in two kinds that must not be
mixed: of the averaged curves, as papers give them, and the mean over pictures of each picture's own BD-rate.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codec.errors import ConfigError
from jobs.comparing.points import Curve, Series, complete_images
from jobs.record import Record, Score
from rdo.bd_rate import Interval, bd_rate, paired_bootstrap, saving_at_equal_quality

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


class Saving(NamedTuple):
    """Mean of bits saved at equal PSNR, positive is better, over `images` pictures whose other curve reaches that PSNR.

    None where no picture's curve does.
    """

    saving_percent: float | None
    images: int


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
        against: codec -> saving against its curves.
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


def bjontegaard_delta(*, anchor_bpp: ArrayLike, anchor_db: ArrayLike, bpp: ArrayLike, psnr_db: ArrayLike) -> Delta:
    """Compute the BD-rate of a curve against an anchor's, or give the reason why there is none."""
    try:
        pchip = bd_rate(anchor_bpp, anchor_db, bpp, psnr_db, "pchip")
        akima = bd_rate(anchor_bpp, anchor_db, bpp, psnr_db, "akima")
    except ConfigError as error:
        return Delta(reason=str(error))
    return Delta(
        pchip.bd_rate_percent, akima.bd_rate_percent, pchip.psnr_low_db, pchip.psnr_high_db, overlap=pchip.overlap
    )


def compare_codecs(codec: Series, anchor: Series, with_interval: bool = True) -> Comparison:
    """Compare a codec with an anchor over the pictures that both encoded.

    The bootstrap interval of the averaged curves takes seconds; it is left out unless `with_interval`.
    """
    images = complete_images(codec, anchor)
    shared = sorted(codec.points.keys() & anchor.points.keys())
    per_image = {image: _delta(anchor.curve(image), codec.curve(image)) for image in shared}
    pchip = _known(d.pchip_percent for d in per_image.values())
    akima = _known(d.akima_percent for d in per_image.values())

    if images:
        a, b = anchor.means(images), codec.means(images)
        averaged = _delta(Curve(a.bpp, a.psnr_db), Curve(b.bpp, b.psnr_db))
    else:
        averaged = Delta(reason="no picture was encoded by both at every setting")
    known = with_interval and averaged.reason is None
    return Comparison(
        codec=codec.codec,
        anchor=anchor.codec,
        averaged=averaged,
        averaged_interval=_interval_of_averages(codec, anchor, images) if known else None,
        mean_percent=float(pchip.mean()) if len(pchip) else None,
        akima_mean_percent=float(akima.mean()) if len(akima) else None,
        mean_interval=_interval_of_mean(pchip),
        count=count_wins(-pchip, TIE_PERCENT),
        compared=len(pchip),
        images=images,
        left_out=sorted((codec.points.keys() | anchor.points.keys()) - set(images)),
        per_image=per_image,
    )


def at_quality(quality: float, records: list[Record], plain: Series, others: Iterable[Series] = ()) -> AtQuality:
    """Compare refined with plain files at one quality, and refined files with the curves of other codecs.

    Args:
        quality: level whose records are taken.
        records: records of one effort, with an outcome for each picture of this quality.
        plain: curve of plain encoding.
        others: curves of other codecs.
    """
    pairs = [(r, r.outcome.plain, r.outcome.refined) for r in records if r.quality == quality and r.outcome]
    gains = np.array([r.measured.gain_percent for r, _, _ in pairs])
    changes_db = _known(
        b.psnr_db - a.psnr_db if a.psnr_db is not None and b.psnr_db is not None else None for _, a, b in pairs
    )
    refined = [(r.input, score) for r, _, score in pairs]
    savings, reason = _savings(refined, plain)
    against = {other.codec: _savings(refined, other)[0] for other in others}
    before, after = sum(a.bytes for _, a, _ in pairs), sum(b.bytes for _, _, b in pairs)
    return AtQuality(
        quality=quality,
        images=len(pairs),
        gain_percent=float(gains.mean()),
        gain_interval=_interval_of_mean(gains),
        gain_least_percent=float(gains.min()),
        gain_most_percent=float(gains.max()),
        saving_percent=float(np.mean(savings)) if savings else None,
        saving_interval=_interval_of_mean(np.array(savings)),
        saving_images=len(savings),
        reason=reason if len(savings) < len(pairs) else None,
        bytes_percent=100 * (after / before - 1),
        psnr_change_db=float(changes_db.mean()) if len(changes_db) else None,
        count=count_wins(gains, 0.0),
        against={c: Saving(float(np.mean(s)) if s else None, len(s)) for c, s in against.items()},
    )


def _savings(files: list[tuple[str, Score]], other: Series) -> tuple[list[float], str | None]:
    """Compute bits saved at equal PSNR by each file within the other codec's curve, and why the last one has none."""
    savings, reason = [], None
    for image, score in files:
        if score.psnr_db is None:
            continue
        try:
            savings.append(saving_at_equal_quality(*other.curve(image), score.bpp, score.psnr_db))
        except ConfigError as error:
            reason = str(error)
    return savings, reason


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


def _interval_of_mean(values: NDArray[np.float64]) -> Interval | None:
    return paired_bootstrap(lambda chosen: float(values[chosen].mean()), len(values))


def _known(values: Iterable[float | None]) -> NDArray[np.float64]:
    return np.array([v for v in values if v is not None], dtype=float)
