"""Procedural landscapes: of any size, the same each time, of several hours, and with textures like photographs'."""

import numpy as np
import pytest

from codec.images.landscape import LIGHTS, SHORE, landscape


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 2), (2, 1), (5, 64), (64, 5), (97, 63)])
def test_any_size(width: int, height: int) -> None:
    found = landscape(width, height)
    assert found.shape == (height, width, 3) and found.dtype == np.uint8


def test_seeds_tell_pictures_apart() -> None:
    assert np.array_equal(landscape(96, 64, 4), landscape(96, 64, 4))
    assert len({landscape(96, 64, seed).tobytes() for seed in range(6)}) == 6


@pytest.mark.parametrize("seed", range(len(LIGHTS)))
def test_it_is_bright_above_and_dark_ashore(seed: int) -> None:
    found = landscape(192, 128, seed).astype(float)
    shore = round(SHORE * 128)
    sky, land = found[: shore // 3].mean(), found[shore - 16 : shore].mean()
    assert sky > land + 20 and 60 < found.mean() < 200


def test_its_detail_is_neither_flat_nor_noise() -> None:
    land = landscape(256, 192, 0)[70:138].astype(float).mean(2)
    fine = np.diff(land, axis=1).std() / land.std()  # about 0.1 of a smooth picture, 1.4 of white noise
    assert 0.15 < fine < 0.8
