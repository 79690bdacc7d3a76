"""BD-rate against cases with a known answer."""

import numpy as np
import pytest

from codec.errors import ConfigError
from rdo.gains import bd_rate

DB = np.array([28.0, 30.0, 32.5, 35.0, 38.0])
BPP = np.array([0.1, 0.2, 0.4, 0.7, 1.3])


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.0, 1.25, 2.0])
def test_constant_factor_of_rate_is_its_own_percentage(factor: float) -> None:
    result = bd_rate(BPP, DB, BPP * factor, DB)
    assert result.bd_rate_percent == pytest.approx(100 * (factor - 1))
    assert (result.psnr_low_db, result.psnr_high_db) == (28.0, 38.0)


def test_exponential_curves_shifted_in_quality_have_a_closed_form() -> None:
    db = np.linspace(30, 40, 12)
    rate = np.exp(0.2 * db)  # straight in log rate: PCHIP is exact
    result = bd_rate(rate, db, rate, db + 1.0)
    assert result.bd_rate_percent == pytest.approx(100 * (np.exp(-0.2) - 1))
    assert (result.psnr_low_db, result.psnr_high_db) == (31.0, 40.0)


def test_order_of_points_does_not_matter() -> None:
    assert bd_rate(BPP, DB, BPP[::-1] * 0.8, DB[::-1]) == bd_rate(BPP, DB, BPP * 0.8, DB)


@pytest.mark.parametrize(
    ("bpp", "db"), [(BPP, DB + 50), ([0.1], [30.0]), ([0.1, 0.2], [30.0, 30.0])], ids=["apart", "single", "repeated"]
)
def test_curves_that_cannot_be_compared_are_refused(bpp: list[float], db: list[float]) -> None:
    with pytest.raises(ConfigError, match=r"quality|points"):
        bd_rate(BPP, DB, bpp, db)
