"""MSE and PSNR against arithmetic by hand."""

import math

import numpy as np
import pytest

from codec.images.pixels import Pixels
from codec.metrics.psnr import mse, psnr_db, psnr_db_of_mse


def constant(level: int) -> Pixels:
    return Pixels(np.full((5, 7, 3), level, np.uint8), grey=False)


@pytest.mark.parametrize(("a", "b"), [(0, 255), (255, 0), (100, 103), (7, 6)])
def test_constant_difference(a: int, b: int) -> None:
    assert mse(constant(a), constant(b)) == (a - b) ** 2
    assert psnr_db(constant(a), constant(b)) == pytest.approx(20 * math.log10(255 / abs(a - b)))


def test_one_sample_of_many() -> None:
    data = constant(9).data.copy()
    data[2, 3, 1] += 4
    assert mse(constant(9), Pixels(data, grey=False)) == pytest.approx(16 / 105)


def test_identical_pictures_have_no_psnr() -> None:
    assert psnr_db(constant(3), constant(3)) is None


def test_psnr_of_mse() -> None:
    assert psnr_db_of_mse(255.0**2) == 0 and psnr_db_of_mse(65.025) == pytest.approx(30)
