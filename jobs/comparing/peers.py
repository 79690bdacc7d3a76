"""Choice of each classical codec's best ladder for each metric: a peer is compared at its best.

The invariant: on a metric every codec that encoded anything has one ladder, and where that was not found by its BD-rate
a sentence says so.
"""

from collections.abc import Mapping
from typing import NamedTuple

from jobs.comparing.comparison import Delta, bjontegaard_delta
from jobs.comparing.ladders import codec_of
from jobs.comparing.metrics import Metric
from jobs.comparing.notes import Remark
from jobs.comparing.points import PLAIN, REFINED, Series, complete_images


class Peers(NamedTuple):
    """Codec -> its best ladder on one metric, and remarks on ladders that could not be ranked."""

    best: dict[str, Series]
    remarks: list[Remark]


def best_ladders(series: Mapping[str, Series], metric: Metric) -> Peers:
    """Choose the ladder of least BD-rate against the plain curve, both averaged over the pictures that all have.

    Of ladders that cannot be ranked, as they share no quality with the plain curve or are not monotone, the first in
    the order of `LADDERS` stands where the codec has no other.
    """
    best, remarks = dict[str, Series](), list[Remark]()
    groups: dict[str, list[Series]] = {}
    for name, found in series.items():
        if name not in (PLAIN, REFINED):
            groups.setdefault(codec_of(name), []).append(found)
    for codec, ladders in groups.items():
        best[codec] = ladders[0]
        if len(ladders) < 2 or PLAIN not in series:
            continue
        deltas = _rank(series[PLAIN], ladders, metric)
        known = {name: delta.pchip_percent for name, delta in deltas.items() if delta.pchip_percent is not None}
        best[codec] = series[min(known, key=lambda name: known[name])] if known else ladders[0]
        unranked = f"without a rank among the ladders of {codec}"
        remarks += [
            Remark(name, unranked, metric.title, delta.reason)
            for name, delta in deltas.items()
            if delta.reason and known
        ]
        if not known:
            standing = f"stands for {codec}, of which no ladder could be ranked"
            why = next(iter(deltas.values())).reason or ""
            remarks.append(Remark(ladders[0].codec, standing, metric.title, why))
    return Peers(best, remarks)


def _rank(plain: Series, ladders: list[Series], metric: Metric) -> dict[str, Delta]:
    """Compute the BD-rate of each ladder against the plain curve."""
    images = complete_images(plain, *ladders, metric=metric)
    if not images:
        reason = "no picture has all of them and the plain curve at every setting"
        return {ladder.codec: Delta(reason=reason) for ladder in ladders}
    anchor = plain.average(images, metric)
    return {
        ladder.codec: bjontegaard_delta(
            anchor, ladder.average(images, metric), names=(PLAIN, ladder.codec), metric=metric
        )
        for ladder in ladders
    }
