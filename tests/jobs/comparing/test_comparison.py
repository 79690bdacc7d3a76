"""Figures of a comparison on curves whose outcome is known."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from jobs.comparing.comparison import compare_codecs, count_wins
from jobs.comparing.metrics import METRICS, SSIMULACRA2
from jobs.comparing.notes import curve_notes
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
    assert found.saved["psnr"].least_percent == pytest.approx(0) and found.saved["psnr"].interval is not None
    assert found.bytes_percent == pytest.approx(-4.0, abs=0.5)


def test_one_quality_is_compared_with_codecs_that_have_a_curve(make_record: Any) -> None:
    record = make_record("a", 4)
    curve = series_of([make_record("a", q, saved=-0.25) for q in (2, 4, 6)], [])["refined"]  # a quarter more than plain
    far = series_of([make_record("a", q) for q in (7, 8)], [])["refined"]
    found = at_quality(4, [record], series_of([record], [])["plain"], {"psnr": {"x": curve, "y": far}})
    saved = pytest.approx(100 * (1 - 0.95 / 1.25))
    assert found.against["x"] == (saved, 1, None, saved)
    assert found.against["y"] == (None, 0, None, None)


def test_one_quality_has_a_gain_and_says_why_no_saving(make_record: Any) -> None:
    records = [make_record(image, 4) for image in "abc"]
    found = at_quality(4, records, series_of(records, [])["plain"])
    assert found.saving_percent is None and "two or more points" in (found.reason or "")
    assert math.isfinite(found.gain_percent)


def test_within_a_tie_nobody_wins() -> None:
    assert count_wins(np.array([0.04, -0.04, 0.06, -0.06, 0.0]), 0.05) == (1, 3, 1)


def with_ssimulacra2(record: Any, side: str, value: float) -> Any:
    changed = replace(getattr(record.outcome, side), ssimulacra2=value)
    return replace(record, outcome=replace(record.outcome, **{side: changed}))


def test_a_constant_saving_is_every_bd_rate_on_every_metric(make_record: Any) -> None:
    series = curves(make_record, {"a": 0.05, "b": 0.05, "c": 0.05})
    ranges = {"psnr": (27.5, 36.5), "ms_ssim": (11.0, 17.0), "ssimulacra2": (28.0, 76.0), "butteraugli": (1.0, 7.0)}
    for metric in METRICS:
        found = compare_codecs(series["refined"], series["plain"], metric)
        assert (found.metric, found.anchor, found.ladder) == (metric.name, "plain", "plain")
        assert found.averaged.pchip_percent == pytest.approx(-5.0) == found.mean_percent
        assert found.averaged_interval == pytest.approx((-5.0, -5.0)) and found.count == (3, 0, 0)
        assert (found.averaged.metric_low, found.averaged.metric_high) == pytest.approx(ranges[metric.name])
        assert (found.averaged.psnr_low_db is None) == (metric.name != "psnr")


def test_a_picture_whose_curve_falls_is_left_out_and_counted(make_record: Any) -> None:
    records = [make_record(image, q) for image in "abcd" for q in QUALITIES]
    records = [with_ssimulacra2(r, "refined", 43.0) if (r.input, r.quality) == ("b", 1) else r for r in records]
    records = [with_ssimulacra2(r, "refined", 42.0) if (r.input, r.quality) == ("b", 3) else r for r in records]
    series = series_of(records, [])
    found = compare_codecs(series["refined"], series["plain"], SSIMULACRA2)
    assert found.averaged.monotone and found.averaged.pchip_percent is not None  # the mean rises
    assert not found.per_image["b"].monotone and found.per_image["b"].pchip_percent is None
    assert "refined is not monotone: 43.0 points at" in found.per_image["b"].reason
    assert found.compared == 3 and found.mean_percent == pytest.approx(-5.0) and found.count == (3, 0, 0)
    notes = curve_notes(series=series, images=found.images, comparisons=[found], published=[])
    assert any(
        note.startswith("refined against plain on SSIMULACRA 2: 1 of 4 pictures are left out of what is counted")
        and "(b: refined is not monotone" in note
        for note in notes
    )


def test_averaged_curves_that_fall_have_a_note_and_no_figure(make_record: Any) -> None:
    records = [make_record(image, q) for image in "abc" for q in QUALITIES]
    series = series_of([with_ssimulacra2(r, "plain", 30.0) if r.quality == 5 else r for r in records], [])
    found = compare_codecs(series["refined"], series["plain"], SSIMULACRA2)
    assert found.averaged.pchip_percent is found.averaged.akima_percent is found.averaged_interval is None
    assert not found.averaged.monotone and found.mean_percent is None and found.compared == 0
    notes = curve_notes(series=series, images=found.images, comparisons=[found], published=[])
    assert any(n.startswith("refined against plain on SSIMULACRA 2: plain is not monotone: 44.0 points") for n in notes)


def test_a_curve_that_falls_gives_no_saving(make_record: Any) -> None:
    records = [make_record("a", q) for q in QUALITIES]
    series = series_of([with_ssimulacra2(r, "plain", 30.0) if r.quality == 5 else r for r in records], [])
    found = at_quality(3, records, series["plain"])
    assert {name: saving[:2] for name, saving in found.saved.items()} == {
        name: (None, 0) if name == "ssimulacra2" else (pytest.approx(5.0), 1)
        for name in ("psnr", "ms_ssim", "ssimulacra2", "butteraugli")
    }
