"""Filling: known pixels stay, missing ones continue their surroundings smoothly."""

import tracemalloc

import numpy as np
import pytest

from codec.images import rows
from codec.images.fill import filled
from codec.images.pixels import Pixels

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (70, 101, 3), dtype=np.uint8)


@pytest.mark.parametrize("grey", [False, True])
def test_known_pixels_stay_and_grey_stays_grey(grey: bool) -> None:
    data = NOISE[..., :1].repeat(3, -1) if grey else NOISE
    missing = RNG.random((70, 101)) < 0.5
    found = filled(Pixels(data, grey), missing)
    assert found.grey == grey and np.array_equal(found.data[~missing], data[~missing])
    assert not grey or np.array_equal(found.data[..., 0], found.data[..., 2])


def test_what_is_missing_is_continued_without_steps() -> None:
    slope = np.linspace(20, 220, 128).round().astype(np.uint8)[None, :, None].repeat(128, 0).repeat(3, -1)
    missing = np.zeros((128, 128), dtype=bool)
    missing[32:96, 32:96] = True
    found = filled(Pixels(np.where(missing[..., None], 255 - slope, slope), False), missing).data.astype(int)
    assert np.abs(np.diff(found, axis=0)).max() <= 12 and np.abs(np.diff(found, axis=1)).max() <= 12
    assert np.abs(found - slope).mean() < 4


def test_one_known_pixel_fills_all() -> None:
    missing = np.ones((70, 101), dtype=bool)
    missing[69, 3] = False
    assert (filled(Pixels(NOISE, False), missing).data == NOISE[69, 3]).all()


def test_nothing_known_is_white_and_nothing_missing_is_the_picture() -> None:
    assert (filled(Pixels(NOISE, False), np.ones((70, 101), dtype=bool)).data == 255).all()
    assert np.array_equal(filled(Pixels(NOISE, False), np.zeros((70, 101), dtype=bool)).data, NOISE)


@pytest.mark.parametrize("shape", [(70, 101), (101, 70), (1, 37), (64, 1)])
def test_bands_change_nothing(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, missing = Pixels(RNG.integers(0, 256, (*shape, 3), dtype=np.uint8), False), RNG.random(shape) < 0.9
    whole = filled(pixels, missing).data
    monkeypatch.setattr(rows, "BAND_PX", 64)
    assert np.array_equal(filled(pixels, missing).data, whole)


def test_memory_is_a_small_multiple_of_the_picture() -> None:
    pixels, missing = Pixels(RNG.integers(0, 256, (2048, 2048, 3), dtype=np.uint8), False), np.ones((2048, 2048), bool)
    missing[::64] = False
    tracemalloc.start()
    filled(pixels, missing)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * pixels.data.nbytes  # in one go 29
