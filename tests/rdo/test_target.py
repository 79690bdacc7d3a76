"""Goals: a ceiling is filled to 1 % or two words and never passed, a PSNR met to 0.05 dB."""

import math

import pytest

from rdo.target import Goal


@pytest.mark.parametrize("value", [0.0, -3.0, math.inf, math.nan])
def test_a_goal_is_positive(value: float) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        Goal("bytes", value)


@pytest.mark.parametrize(
    ("value", "size", "met", "acceptable"),
    [
        (10_000, 10_000, True, True), (10_000, 9_900, True, True), (10_000, 9_899, False, True),
        (10_000, 9_500, False, True), (10_000, 9_499, False, False), (10_000, 10_001, False, False),
        (103, 92, True, False), (103, 91, False, False),
    ],
)  # fmt: skip
def test_a_ceiling_of_bytes(value: float, size: int, met: bool, acceptable: bool) -> None:
    goal = Goal("bytes", value)
    assert (goal.met(math.log(size)), goal.acceptable(math.log(size))) == (met, acceptable)
    assert goal.met(goal.aim)


@pytest.mark.parametrize(("measured", "met"), [(34.0, True), (34.04, True), (33.96, True), (34.06, False)])
def test_a_psnr(measured: float, met: bool) -> None:
    goal = Goal("psnr", 34.0)
    assert goal.met(measured) is met and not goal.acceptable(measured) and goal.aim == 34.0


def test_between_is_strict() -> None:
    goal = Goal("psnr", 34.0)
    assert goal.between(33.0, 35.0) and goal.between(35.0, 33.0)
    assert not goal.between(34.0, 35.0) and not goal.between(35.0, 36.0)
