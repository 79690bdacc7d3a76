"""Allocation of a budget: never exceeded, at one slope, and the least distortion that brute force finds."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.errors import ConfigError
from rdo.allocation import (
    Change,
    Curve,
    Measured,
    allocate,
    change_between,
    changed,
    equal_quality,
    interpolated,
    mean_change,
    operating_curve,
    point_at,
)


def picture(size: float, distortion: float, growth: float = 0.25, fall: float = 0.3) -> list[Measured]:
    """Encodings at four qualities: bytes grow and distortion falls exponentially, scores rise by 10 a quality."""
    return [
        Measured(q, size * math.exp(growth * q), distortion * math.exp(-fall * q), 10 * q) for q in (1.0, 3.0, 5.5, 8.0)
    ]


pictures = st.builds(
    picture, st.floats(100, 1e6), st.floats(1e-3, 1e9), st.floats(0.05, 0.5), st.floats(0.05, 0.5)
)  # fmt: skip


@given(st.lists(pictures, min_size=1, max_size=6), st.floats(0, 1))
def test_a_budget_is_filled_and_never_exceeded(measured: list[list[Measured]], fraction: float) -> None:
    curves = [operating_curve(points) for points in measured]
    least, most = (math.fsum(curve.bytes[end] for curve in curves) for end in (0, -1))
    budget = least + fraction * (most - least)
    assert budget * (1 - 1e-6) <= allocate(curves, budget).bytes <= budget * (1 + 1e-12)


@given(st.lists(pictures, min_size=2, max_size=6), st.floats(0.05, 0.95))
def test_no_other_sharing_is_better(measured: list[list[Measured]], fraction: float) -> None:
    """Bytes moved from any picture to any other raise the sum of distortions."""
    curves = [operating_curve(points) for points in measured]
    least, most = (math.fsum(curve.bytes[end] for curve in curves) for end in (0, -1))
    found = allocate(curves, least + fraction * (most - least))
    for giver, taker in itertools.permutations(range(len(curves)), 2):
        moved = 0.02 * min(found.points[giver].bytes, found.points[taker].bytes)
        points = list(found.points)
        for index, change in ((giver, -moved), (taker, moved)):
            points[index] = curves[index].at_bytes(points[index].bytes + change)
        total = math.fsum(point.bytes for point in points)
        if total <= found.bytes * (1 + 1e-9):  # not beyond the least bytes of the giver
            assert math.fsum(point.distortion for point in points) >= found.distortion * (1 - 1e-9)


def test_brute_force_finds_nothing_better() -> None:
    measured = [picture(1000, 5e5), picture(3000, 2e4, 0.2, 0.5), picture(500, 9e6, 0.35, 0.15)]
    budget = 14_000.0
    best = min(
        math.fsum(point.distortion for point in points)
        for points in itertools.product(*(interpolated(m)[::4] for m in measured))
        if math.fsum(point.bytes for point in points) <= budget
    )
    assert allocate([operating_curve(m) for m in measured], budget).distortion <= best


def test_a_picture_that_is_worth_more_gets_more() -> None:
    curves = [operating_curve(picture(1000, 1e5)), operating_curve(picture(1000, 4e5))]
    plain, detailed = allocate(curves, 8000).points
    assert detailed.bytes > 1.2 * plain.bytes
    same = equal_quality(curves, 8000)
    assert same[0].quality == same[1].quality
    assert sum(p.distortion for p in (plain, detailed)) < sum(p.distortion for p in same)


def test_a_curve_that_rises_somewhere_is_cut_to_its_hull() -> None:
    """A drawing: more quality may mean fewer bytes, or a worse picture."""
    points = [Measured(1, 100, 50), Measured(3, 90, 40), Measured(5.5, 200, 45), Measured(8, 300, 10)]
    curve = operating_curve(points)
    assert (np.diff(curve.bytes) > 0).all() and (np.diff(curve.distortion) < 0).all()
    assert (np.diff(curve.slopes) <= 1e-9).all()
    assert curve.bytes[0] == pytest.approx(90, rel=0.02) and curve.bytes[-1] == pytest.approx(300)


def test_one_encoding_and_one_without_an_error_are_curves_too() -> None:
    lone = operating_curve([Measured(4, 100, 5)])
    assert allocate([lone], 200).points == (Measured(4, 100, 5, pytest.approx(math.nan, nan_ok=True)),)
    exact = operating_curve([Measured(1, 50, 0.0, 100), Measured(8, 60, 0.0, 100)])
    assert exact.bytes.tolist() == pytest.approx([50])
    assert allocate([exact, operating_curve(picture(100, 1e4))], 1000).points[0].bytes == pytest.approx(50)


def test_all_at_the_top_where_the_budget_allows_more() -> None:
    curves = [operating_curve(picture(1000, 1e5)), operating_curve(picture(10, 1e5))]
    found = allocate(curves, 1e9)
    assert found.slope == 0 and [point.quality for point in found.points] == [8, 8] and found.bytes < 1e9


def test_a_budget_too_small_names_the_least() -> None:
    curve = operating_curve(picture(1000, 1e5))
    least = math.ceil(float(curve.bytes[0]))
    with pytest.raises(ConfigError, match=f"1,000 bytes is too small: the least is {least:,}"):
        allocate([curve], 1000)
    assert allocate([curve], least).points[0].quality == pytest.approx(1, abs=0.01)


def test_a_floor_holds_whatever_the_slope() -> None:
    low, high = operating_curve(picture(1000, 1.0), floor=45), operating_curve(picture(1000, 1e9))
    plain, detailed = allocate([low, high], 7000).points
    assert plain.score == pytest.approx(45, abs=0.4) and plain.score >= 45 and detailed.score > 45
    hopeless = operating_curve(picture(1000, 1.0), floor=99)
    assert hopeless.quality.tolist() == [8]
    unknown = [Measured(m.quality, m.bytes, m.distortion) for m in picture(1000, 1.0)]
    assert operating_curve(unknown, floor=45).quality[0] == 1


def test_a_curve_follows_what_a_file_showed() -> None:
    measured = picture(1000, 1e5)
    predicted = point_at(measured, 4.2)
    written = Measured(4.2, 1.1 * predicted.bytes, 0.8 * predicted.distortion, predicted.score + 6)
    found = point_at(changed(measured, change_between(predicted, written)), 4.2)
    assert found == pytest.approx(written)
    assert point_at(measured, 9) == pytest.approx(measured[-1]) and point_at(measured, 0) == pytest.approx(measured[0])


def test_changes_are_averaged_as_factors() -> None:
    assert mean_change([]) == Change()
    assert mean_change([Change(2, 0.5, 3), Change(0.5, 0.5, 1)]) == pytest.approx(Change(1, 0.5, 2))
    assert change_between(Measured(1, 10, 0.0), Measured(1, 20, 0.0)) == Change(2, 1, 0)


def test_of_a_quality_measured_twice_the_last_counts() -> None:
    points = interpolated([Measured(1, 10, 5), Measured(1, 20, 5), Measured(2, 40, 2)])
    assert points[0].bytes == pytest.approx(20) and isinstance(operating_curve(points), Curve)
