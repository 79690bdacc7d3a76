"""The figures of a report: what was gained, against what, over which range, and how sure that is.

Each figure that cannot be had is null with a `reason` for the reader. BD-rates come two ways that are not to be
mixed: over the averaged curves (as papers do), and as the mean over pictures of each one's own.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from codec.errors import ConfigError
from jobs.comparing.points import Series, complete
from jobs.record import Record, Score
from rdo.bd_rate import Interval, bd_rate, paired_bootstrap, saving_at_equal_quality

TIE_PERCENT = 0.05  # of BD-rate; closer than that neither side wins
OVERLAP_MIN = 0.75  # of the narrower curve's range; below, the report warns


class Count(NamedTuple):
    """Pictures on which the tested side is better, equal or worse."""

    wins: int
    ties: int
    losses: int


@dataclass(frozen=True)
class Delta:
    """One BD-rate by both interpolations, with its range; null with a `reason` where the curves cannot be compared."""

    pchip_percent: float | None = None
    akima_percent: float | None = None
    psnr_low_db: float | None = None
    psnr_high_db: float | None = None
    overlap: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Comparison:
    """A codec against an anchor.

    Attributes:
        averaged: BD-rate of the averaged curves of `images`, the pictures that both codecs encoded at every setting.
        averaged_interval: 95 %, pictures resampled in pairs; of PCHIP, as is `mean_interval`.
        mean_percent: mean of the pictures' own BD-rates (PCHIP), over `compared` of them.
        akima_mean_percent: the same by Akima.
        count: by the pictures' own BD-rates.
        left_out: pictures that one of the codecs failed on.
        per_image: their own BD-rates.
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
    """A codec's averaged curve against the published anchor's."""

    codec: str
    anchor: str
    delta: Delta


class Saving(NamedTuple):
    """Mean of bits saved at equal PSNR, over `images` pictures whose other curve reaches it; null where none does."""

    saving_percent: float | None
    images: int


@dataclass(frozen=True)
class AtQuality:
    """What refinement changed at one quality, means over its pictures; `gain_percent` is the fall of cost.

    `saving_percent` is bits saved at the PSNR of the refined file, against each picture's own plain curve, over
    `saving_images` pictures that have one there; null with a `reason` where none has. `against` has the same for the
    curves of other codecs. `bytes_percent` is of the sum.
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


def delta(anchor_bpp: ArrayLike, anchor_db: ArrayLike, bpp: ArrayLike, psnr_db: ArrayLike) -> Delta:
    """BD-rate of a curve against an anchor's, or the reason why there is none."""
    try:
        pchip = bd_rate(anchor_bpp, anchor_db, bpp, psnr_db, "pchip")
        akima = bd_rate(anchor_bpp, anchor_db, bpp, psnr_db, "akima")
    except ConfigError as error:
        return Delta(reason=str(error))
    return Delta(
        pchip.bd_rate_percent, akima.bd_rate_percent, pchip.psnr_low_db, pchip.psnr_high_db, overlap=pchip.overlap
    )


def compare(codec: Series, anchor: Series, with_interval: bool = True) -> Comparison:
    """One codec against another over the pictures that both encoded; the averaged curves' interval takes seconds."""
    images = complete(codec, anchor)
    shared = sorted(codec.points.keys() & anchor.points.keys())
    per_image = {image: delta(*anchor.curve(image), *codec.curve(image)) for image in shared}
    pchip = _known(d.pchip_percent for d in per_image.values())
    akima = _known(d.akima_percent for d in per_image.values())

    if images:
        a, b = anchor.means(images), codec.means(images)
        averaged = delta(a.bpp, a.psnr_db, b.bpp, b.psnr_db)
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
        count=count(-pchip, TIE_PERCENT),
        compared=len(pchip),
        images=images,
        left_out=sorted((codec.points.keys() | anchor.points.keys()) - set(images)),
        per_image=per_image,
    )


def at_quality(quality: float, records: list[Record], plain: Series, others: Iterable[Series] = ()) -> AtQuality:
    """Refined against plain, and against what else there is, at one quality."""
    pairs = [(r, r.outcome.plain, r.outcome.refined) for r in records if r.quality == quality and r.outcome]
    gains = np.array([r.measured.gain_percent for r, _, _ in pairs])
    moves = _known(
        b.psnr_db - a.psnr_db if a.psnr_db is not None and b.psnr_db is not None else None for _, a, b in pairs
    )
    refined = [(r.input, found) for r, _, found in pairs]
    savings, reason = _savings(refined, plain)
    elsewhere = {other.codec: _savings(refined, other)[0] for other in others}
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
        psnr_change_db=float(moves.mean()) if len(moves) else None,
        count=count(gains, 0.0),
        against={c: Saving(float(np.mean(s)) if s else None, len(s)) for c, s in elsewhere.items()},
    )


def _savings(files: list[tuple[str, Score]], other: Series) -> tuple[list[float], str | None]:
    """Bits saved at equal PSNR by each picture's file that the other's curve reaches; why the last one has none."""
    savings, reason = [], None
    for image, found in files:
        if found.psnr_db is None:
            continue
        try:
            savings.append(saving_at_equal_quality(*other.curve(image), found.bpp, found.psnr_db))
        except ConfigError as error:
            reason = str(error)
    return savings, reason


def count(gains: NDArray[np.float64], tie: float) -> Count:
    """Wins, ties and losses of gains where positive is better; those within `tie` of zero are ties."""
    wins, losses = int((gains > tie).sum()), int((gains < -tie).sum())
    return Count(wins, len(gains) - wins - losses, losses)


def _interval_of_averages(codec: Series, anchor: Series, images: list[str]) -> Interval | None:
    (bpp, db), (anchor_bpp, anchor_db) = codec.table(images), anchor.table(images)

    def figure(chosen: NDArray[np.intp]) -> float:
        a, b = (anchor_bpp[chosen].mean(0), anchor_db[chosen].mean(0)), (bpp[chosen].mean(0), db[chosen].mean(0))
        return bd_rate(*a, *b).bd_rate_percent

    return paired_bootstrap(figure, len(images))


def _interval_of_mean(values: NDArray[np.float64]) -> Interval | None:
    return paired_bootstrap(lambda chosen: float(values[chosen].mean()), len(values))


def _known(values: Iterable[float | None]) -> NDArray[np.float64]:
    return np.array([v for v in values if v is not None], dtype=float)
