"""Figures of a comparison on curves whose outcome is known."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from jobs.comparing.comparison import compare_codecs, count_wins
from jobs.comparing.points import Series, series_of
from jobs.comparing.savings import at_quality
from jobs.record import Score

QUALITIES = (1, 3, 5, 7)


def curves(make_record: Any, saved: dict[str, float], qualities: tuple[int, ...] = QUALITIES) -> dict[str, Series]:
    return series_of([make_record(image, q, s) for image, s in saved.items() for q in qualities], [])


def test_a_constant_saving_is_every_bd_rate(make_record: Any) -> None:
    series = curves(make_record, {"a": 0.05, "b": 0.05, "c": 0.05})
    found = compare_codecs(series["refined"], series["plain"])
    for value in (found.averaged.pchip_percent, found.averaged.akima_percent, found.mean_percent):
        assert value == pytest.approx(-5.0)
    assert found.averaged_interval == pytest.approx((-5.0, -5.0)) and found.averaged.overlap == 1
    assert (found.count, found.compared, found.left_out) == ((3, 0, 0), 3, [])
    assert (found.averaged.psnr_low_db, found.averaged.psnr_high_db) == (27.5, 36.5)


def test_wins_ties_losses_and_the_mean_are_of_pictures(make_record: Any) -> None:
    series = curves(make_record, {"a": 0.10, "b": 0.0, "c": -0.04, "d": 0.02})
    found = compare_codecs(series["refined"], series["plain"])
    assert found.count == (2, 1, 1)
    assert found.mean_percent == pytest.approx((-10 + 0 + 4 - 2) / 4)
    assert found.mean_interval is not None
    assert found.mean_interval.low < -2.0 < found.mean_interval.high


def test_pictures_that_one_side_lacks_are_left_out_and_named(make_record: Any) -> None:
    records = [make_record(image, q) for image in ("a", "b") for q in QUALITIES]
    series = series_of(records[:-1], [])
    found = compare_codecs(series["refined"], series["plain"])
    assert (found.images, found.left_out) == (["a"], ["b"])
    assert found.per_image["b"].pchip_percent == pytest.approx(-5.0)  # over the qualities it has


def lowered(score: Score) -> Score:
    assert score.psnr_db is not None
    return replace(score, psnr_db=score.psnr_db - 20)


@pytest.mark.parametrize("qualities", [(4,), (1, 2)])
def test_curves_without_a_shared_range_have_a_reason(make_record: Any, qualities: tuple[int, ...]) -> None:
    plain = curves(make_record, {"a": 0.05, "b": 0.05})["plain"]
    records = [make_record(image, q) for image in ("a", "b") for q in qualities]
    moved = [replace(r, outcome=replace(r.outcome, refined=lowered(r.outcome.refined))) for r in records]
    found = compare_codecs(series_of(moved, [])["refined"], plain)
    assert found.averaged.pchip_percent is None and found.averaged.reason
    assert found.mean_percent is None and found.averaged_interval is None and found.compared == 0


def test_gain_at_a_quality(make_record: Any) -> None:
    records = [make_record(image, q, s) for image, s in (("a", 0.04), ("b", 0.08), ("c", 0.0)) for q in QUALITIES]
    found = at_quality(3, records, series_of(records, [])["plain"])
    assert (found.images, found.saving_images, found.reason) == (3, 3, None)
    assert found.saving_percent == pytest.approx(4.0)
    assert found.gain_percent == pytest.approx(np.mean([r.outcome.gain_percent for r in records if r.quality == 3]))
    assert found.gain_least_percent == 0 < found.gain_most_percent
    assert found.count == (2, 1, 0) and found.psnr_change_db == 0
    assert found.bytes_percent == pytest.approx(-4.0, abs=0.5)


def test_one_quality_is_compared_with_codecs_that_have_a_curve(make_record: Any) -> None:
    record = make_record("a", 4)
    curve = series_of([make_record("a", q, saved=-0.25) for q in (2, 4, 6)], [])["refined"]  # a quarter more than plain
    far = series_of([make_record("a", q) for q in (7, 8)], [])["refined"]
    found = at_quality(
        4, [record], series_of([record], [])["plain"], [replace(curve, codec="x"), replace(far, codec="y")]
    )
    assert found.against["x"] == (pytest.approx(100 * (1 - 0.95 / 1.25)), 1)
    assert found.against["y"] == (None, 0)


def test_one_quality_has_a_gain_and_says_why_no_saving(make_record: Any) -> None:
    records = [make_record(image, 4) for image in "abc"]
    found = at_quality(4, records, series_of(records, [])["plain"])
    assert found.saving_percent is None and "two or more points" in (found.reason or "")
    assert math.isfinite(found.gain_percent)


def test_within_a_tie_nobody_wins() -> None:
    assert count_wins(np.array([0.04, -0.04, 0.06, -0.06, 0.0]), 0.05) == (1, 3, 1)
