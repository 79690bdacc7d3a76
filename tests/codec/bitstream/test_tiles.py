"""Tiles: they cover a picture once, begin on the grid of z, and all but the last of a row or column are squares."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codec.bitstream.tiles import Rect, tile_count, tiles_of

SIDES = st.integers(1, 700)


@given(width=SIDES, height=SIDES, side=st.sampled_from([0, 64, 128, 192]))
def test_tiles_cover_the_picture_once_in_rows(width: int, height: int, side: int) -> None:
    tiles = tiles_of(width, height, side)
    assert len(tiles) == tile_count(width, height, side) and sum(t.width * t.height for t in tiles) == width * height
    assert not any(a.meets(b) for i, a in enumerate(tiles) for b in tiles[:i])
    assert [(t.top, t.left) for t in tiles] == sorted((t.top, t.left) for t in tiles)
    for tile in tiles:
        assert tile.left % 64 == tile.top % 64 == 0
        for length, end, whole in ((tile.width, tile.right, width), (tile.height, tile.bottom, height)):
            assert end == whole or length == side
            assert side == 0 or (length < 1.5 * side and (length >= side / 2 or length == whole))


@pytest.mark.parametrize(
    ("length", "ends"),
    [(1, [1]), (1024, [1024]), (1535, [1535]), (1536, [1024, 1536]), (2560, [1024, 2048, 2560]), (2559, [1024, 2559])],
)
def test_a_remainder_below_half_a_tile_joins_the_tile_before(length: int, ends: list[int]) -> None:
    assert [tile.right for tile in tiles_of(length, 1, 1024)] == ends
    assert [tile.bottom for tile in tiles_of(1, length, 1024)] == ends


def test_the_largest_picture_has_its_tiles_counted_without_a_list() -> None:
    assert tile_count(65_536, 65_536, 64) == 2**20 and tile_count(65_536, 65_536, 0) == 1


def test_rectangles_meet_only_where_they_share_a_pixel() -> None:
    rect = Rect(10, 20, 30, 40)
    assert not any(rect.meets(other) for other in (Rect(30, 20, 50, 40), Rect(10, 40, 30, 60), Rect(0, 0, 10, 99)))
    assert rect.meets(Rect(29, 39, 99, 99)) and rect.common(Rect(29, 0, 99, 25)) == Rect(29, 20, 30, 25)
    assert rect.grown(15, 42, 99) == Rect(0, 5, 42, 55) and rect.size == (20, 20)
    assert rect.contains(rect) and rect.contains(Rect(11, 21, 12, 22))
    assert not any(rect.contains(o) for o in (Rect(9, 20, 30, 40), Rect(10, 20, 30, 41), Rect(15, 25, 15, 30)))
