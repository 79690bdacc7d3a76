"""The procedural street: of any size, the same each time, and with the fine edges that landscapes lack."""

import numpy as np
import pytest

from codec.images.landscape import landscape
from codec.images.street import street


@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 60), (60, 7), (96, 64)])
def test_of_any_size(width: int, height: int) -> None:
    found = street(width, height)
    assert found.shape == (height, width, 3) and found.dtype == np.uint8


def test_equal_arguments_give_equal_pixels() -> None:
    assert np.array_equal(street(96, 64, 4), street(96, 64, 4))
    assert len({street(96, 64, seed).tobytes() for seed in range(4)}) == 4


def test_it_has_more_edges_than_a_landscape() -> None:
    def strongest(pixels: np.ndarray) -> float:
        """Step between neighbours that one of fifty exceeds."""
        return float(np.quantile(np.abs(np.diff(pixels.astype(float).mean(2), axis=1)), 0.98))

    assert strongest(street(288, 192)) > 1.5 * strongest(landscape(288, 192))
