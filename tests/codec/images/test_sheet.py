"""Sheets: each panel shows the same part, above its caption."""

from typing import Any

import numpy as np

from codec.bitstream.tiles import Rect
from codec.images.pixels import Pixels
from codec.images.sheet import CAPTION, GAP, Panel, side_by_side


def test_panels_show_the_same_part(photo: Any) -> None:
    first, second = photo(40, 60), photo(40, 60, 1)
    panels = [Panel(Pixels(first, False), "a"), Panel(Pixels(second, False), "b")]
    found = side_by_side(panels, Rect(10, 5, 40, 25)).data
    assert found.shape == (20 + CAPTION, 2 * 30 + GAP, 3)
    assert np.array_equal(found[:20, :30], first[5:25, 10:40])
    assert np.array_equal(found[:20, 30 + GAP :], second[5:25, 10:40])
    assert found[20:, :20].max() > 200, "its caption is legible"
