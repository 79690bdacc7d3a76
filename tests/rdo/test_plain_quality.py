"""The quality at which plain encoding measures what is aimed at, on curves that rise and on curves that do not."""

import math
from collections.abc import Callable

import pytest

from rdo.plain_quality import find_plain_quality
from rdo.target import Goal

Curve = Callable[[float], float]


class Measured:
    """A `Measurement` of a made-up curve that counts its passes."""

    def __init__(self, curve: Curve, kind: str = "psnr") -> None:
        self.curve, self.goal, self.passes = curve, Goal(kind, 30.0), 0  # type: ignore[arg-type]

    def measure_plain(self, quality: float) -> float:
        self.passes += 1
        return self.curve(quality)


def straight(quality: float) -> float:
    return 27 + 1.2 * quality


def hill(quality: float) -> float:  # as flat magenta: 40 dB at quality 1, 10 dB at 8
    return 40 - 0.6 * (quality - 1) ** 2


def wave(quality: float) -> float:
    return 30 + 3 * math.sin(2 * quality)


@pytest.mark.parametrize("aim", [28.5, 30.0, 33.3, 36.5])
def test_a_straight_curve_takes_three_passes(aim: float) -> None:
    measured = Measured(straight)
    quality, value = find_plain_quality(measured, aim)  # type: ignore[arg-type]
    assert value == pytest.approx(aim, abs=0.04) and value == pytest.approx(straight(quality))
    assert measured.passes <= 3


@pytest.mark.parametrize("curve", [hill, wave])
@pytest.mark.parametrize("aim", [28.0, 30.0, 32.5])
def test_a_curve_that_falls_is_searched_too(curve: Curve, aim: float) -> None:
    quality, value = find_plain_quality(Measured(curve), aim)  # type: ignore[arg-type]
    assert value == pytest.approx(aim, abs=0.04) and 1 <= quality <= 8


@pytest.mark.parametrize(("curve", "aim", "best"), [(straight, 60.0, 8.0), (straight, 20.0, 1.0), (hill, 55.0, 1.0)])
def test_out_of_reach_gives_the_nearest_there_is(curve: Curve, aim: float, best: float) -> None:
    assert find_plain_quality(Measured(curve), aim)[0] == best  # type: ignore[arg-type]


def test_of_two_that_are_nearly_as_near_the_lower_quality_is_taken() -> None:
    def bridge(quality: float) -> float:  # 38.6 at quality 1, 41 in the middle, 38.5 at 8
        return 41 - 0.195 * (quality - 4.5) ** 2 - 0.01 * quality

    quality, value = find_plain_quality(Measured(bridge), 38.0)  # type: ignore[arg-type]
    assert quality == 1 and value == pytest.approx(bridge(1))
