"""BD-rate against cases with a known answer and an independent package; savings; bootstrap intervals."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from codec.errors import ConfigError
from rdo.rd_curves import Interpolation, NotMonotoneError, bd_rate, paired_bootstrap, saving_at_equal_quality

DB = np.array([28.0, 30.0, 32.5, 35.0, 38.0])
BPP = np.array([0.1, 0.2, 0.4, 0.7, 1.3])
BOTH = pytest.mark.parametrize("interpolation", ["pchip", "akima"])
KODAK = Path(__file__).parents[2] / "configs/anchors/kodak.json"


@BOTH
@pytest.mark.parametrize("factor", [0.5, 0.9, 1.0, 1.25, 2.0])
def test_constant_factor_of_rate_is_its_own_percentage(factor: float, interpolation: Interpolation) -> None:
    result = bd_rate(BPP, DB, BPP * factor, DB, interpolation=interpolation)
    assert result.bd_rate_percent == pytest.approx(100 * (factor - 1))
    assert (result.metric_low, result.metric_high, result.overlap) == (28.0, 38.0, 1.0)


@BOTH
def test_exponential_curves_shifted_in_quality_have_a_closed_form(interpolation: Interpolation) -> None:
    db = np.linspace(30, 40, 12)
    rate = np.exp(0.2 * db)  # straight in log rate: both interpolations are exact
    result = bd_rate(rate, db, rate, db + 1.0, interpolation=interpolation)
    assert result.bd_rate_percent == pytest.approx(100 * (np.exp(-0.2) - 1))
    assert (result.metric_low, result.metric_high) == (31.0, 40.0)
    assert result.overlap == pytest.approx(0.9)


def test_order_of_points_does_not_matter() -> None:
    assert bd_rate(BPP, DB, BPP[::-1] * 0.8, DB[::-1]) == bd_rate(BPP, DB, BPP * 0.8, DB)


@BOTH
@given(seed=st.integers(0, 10_000))
def test_the_bjontegaard_package_agrees(seed: int, interpolation: Interpolation) -> None:
    bjontegaard = pytest.importorskip("bjontegaard", reason="the extra `test` brings it")
    rng = np.random.default_rng(seed)
    curves = []
    for points in rng.integers(4, 9, 2):
        db = np.sort(rng.uniform(27, 29) + np.cumsum(rng.uniform(0.8, 2.5, points)))
        curves.append((np.exp(np.cumsum(rng.uniform(0.05, 0.6, points)) - 2), db))
    (rate_a, db_a), (rate_b, db_b) = curves
    theirs = bjontegaard.bd_rate(
        rate_a, db_a, rate_b, db_b, method=interpolation, require_matching_points=False, min_overlap=0
    )
    assert bd_rate(rate_a, db_a, rate_b, db_b, interpolation=interpolation).bd_rate_percent == pytest.approx(
        theirs, rel=1e-6
    )


@pytest.mark.parametrize(
    ("curve", "expected"),
    [("HPCM-Large", -19.4), ("Contextformer", -7.0), ("CAI-cheng2020-anchor", 4.5), ("BPG444", 23.6)],
)
def test_published_curves_give_the_figures_they_are_known_for(curve: str, expected: float) -> None:
    curves = json.loads(KODAK.read_text(encoding="utf-8"))["curves"]
    anchor, test = curves["VTM-18.0 (lossy-vae)"], curves[curve]
    found = bd_rate(anchor["bpp"], anchor["psnr_db"], test["bpp"], test["psnr_db"])
    assert found.bd_rate_percent == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize(
    ("bpp", "db"), [(BPP, DB + 50), ([0.1], [30.0]), ([0.1, 0.2], [30.0, 30.0])], ids=["apart", "single", "repeated"]
)
def test_curves_that_cannot_be_compared_are_refused(bpp: list[float], db: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"quality|points"):
        bd_rate(BPP, DB, bpp, db)


@BOTH
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 2, 0, 3, 1]])
def test_a_curve_that_falls_is_refused_and_named(interpolation: Interpolation, order: list[int]) -> None:
    rates, db = np.array([0.2, 0.5, 0.7, 1.0, 1.5]), np.array([28, 36.9, 36.8, 37, 40])
    rising = np.array([28, 34, 36, 38, 40.0])
    where = r"is not monotone: 36\.9 dB at 0\.5 bpp, 36\.8 dB at 0\.7 bpp$"
    with pytest.raises(NotMonotoneError, match="^the tested curve " + where):
        bd_rate(rates, rising, rates[order], db[order], interpolation=interpolation)
    with pytest.raises(NotMonotoneError, match="^plain " + where):
        bd_rate(rates[order], db[order], rates, rising, interpolation=interpolation, names=("plain", "refined"))
    with pytest.raises(NotMonotoneError, match=r"^AVIF is not monotone: 36\.9 points"):
        saving_at_equal_quality(rates, db, 0.5, 30.0, unit="points", name="AVIF")


def test_a_fall_too_small_for_one_decimal_is_shown() -> None:
    with pytest.raises(NotMonotoneError, match=r"30\.1234 dB at 0\.2 bpp, 30\.1231 dB at 0\.3 bpp"):
        bd_rate(BPP, DB, [0.1, 0.2, 0.3], [30, 30.1234, 30.1231])


def test_messages_have_the_metrics_unit() -> None:
    with pytest.raises(ConfigError, match=r"begins at 88\.00 points where the other ends at 38\.00 points"):
        bd_rate(BPP, DB, BPP, DB + 60, unit="points")
    with pytest.raises(ConfigError, match=r"90\.00 points lies outside the other curve, 28\.00 to 38\.00 points"):
        saving_at_equal_quality(BPP, DB, 0.4, 90.0, unit="points")


def test_saving_is_taken_at_the_points_own_psnr() -> None:
    assert saving_at_equal_quality(BPP, DB, 0.36, 32.5) == pytest.approx(10.0)
    assert saving_at_equal_quality(BPP, DB, 0.44, 32.5) == pytest.approx(-10.0)
    between = saving_at_equal_quality([0.1, 0.4], [30.0, 34.0], 0.1, 32.0)  # the curve has 0.2 bpp there
    assert between == pytest.approx(50.0)


@pytest.mark.parametrize("psnr_db", [27.9, 38.1])
def test_no_saving_beyond_the_curve(psnr_db: float) -> None:
    with pytest.raises(ConfigError, match=r"outside the other curve, 28\.00 to 38\.00 dB"):
        saving_at_equal_quality(BPP, DB, 0.4, psnr_db)


def test_bootstrap_of_a_mean_is_near_the_normal_interval() -> None:
    values = np.random.default_rng(1).normal(5.0, 2.0, 400)
    found = paired_bootstrap(lambda chosen: float(values[chosen].mean()), len(values))
    assert found is not None
    half = 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.05)
    assert found.high == pytest.approx(values.mean() + half, abs=0.05)


def test_bootstrap_is_the_same_each_time_and_needs_three_images() -> None:
    def spread(chosen: NDArray[np.intp]) -> float:
        return float(chosen.max() - chosen.min())

    assert paired_bootstrap(spread, 5) == paired_bootstrap(spread, 5)
    assert paired_bootstrap(spread, 2) is None


def test_bootstrap_gives_nothing_where_resamples_often_have_no_figure() -> None:
    def fragile(chosen: NDArray[np.intp]) -> float:
        if 0 in chosen:
            raise ConfigError("no figure")
        return 1.0

    assert paired_bootstrap(fragile, 4) is None
    assert paired_bootstrap(lambda chosen: 1.0, 4) == (1.0, 1.0)
