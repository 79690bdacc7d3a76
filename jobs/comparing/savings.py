"""Effect of refinement at one quality: fall of cost, and bits saved at equal PSNR against plain and other codecs."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from codec.errors import ConfigError
from jobs.comparing.comparison import Count, count_wins, drop_none, interval_of_mean
from jobs.comparing.points import Series
from jobs.record import Record, Score
from rdo.rd_curves import Interval, saving_at_equal_quality


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
    changes_db = drop_none(
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
        gain_interval=interval_of_mean(gains),
        gain_least_percent=float(gains.min()),
        gain_most_percent=float(gains.max()),
        saving_percent=float(np.mean(savings)) if savings else None,
        saving_interval=interval_of_mean(np.array(savings)),
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
