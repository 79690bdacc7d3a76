"""Procedural pictures: every kind is drawn, seeded, and holds what photographs lack."""

import numpy as np
import pytest

from codec.images import drawing
from codec.images.drawing import Canvas
from codec.training.graphics import KINDS, draw_sheet, draw_sheets

SIDE = 96


@pytest.mark.parametrize("index", range(2 * len(KINDS)))
def test_a_sheet_is_a_function_of_seed_and_index(index: int) -> None:
    sheet = draw_sheet(index, SIDE, 1)
    assert sheet.shape == (SIDE, SIDE, 3) and sheet.dtype == np.uint8
    assert np.array_equal(sheet, draw_sheet(index, SIDE, 1))
    assert not np.array_equal(sheet, draw_sheet(index, SIDE, 2))


def test_sheets_are_those_of_their_indexes_whatever_the_threads() -> None:
    sheets = draw_sheets(len(KINDS), SIDE, 3)
    assert all(np.array_equal(sheet, draw_sheet(index, SIDE, 3)) for index, sheet in enumerate(sheets))


def test_sheets_hold_flat_areas_saturated_colours_and_edges_of_one_pixel() -> None:
    sheets = np.stack(draw_sheets(6 * len(KINDS), SIDE, 0)).astype(int)
    spread = sheets.max(-1) - sheets.min(-1)
    assert (spread > 230).mean() > 0.1, "saturated"
    across = np.abs(np.diff(sheets, axis=2)).max(-1)
    assert (across == 0).mean() > 0.3 and (across > 200).mean() > 0.02


def test_text_is_drawn_in_every_font_smooth_and_hard() -> None:
    white = np.full((40, 200, 3), 255, np.uint8)
    for font in range(len(drawing.fonts())):
        for smooth in (False, True):
            canvas = Canvas(white, smooth)
            canvas.text((2, 2), "Sphinx of 0123", (0, 0, 0), font, 20)
            levels = np.unique(canvas.samples())
            assert levels[0] == 0 and levels[-1] == 255 and (len(levels) > 8 if smooth else len(levels) == 2)


def test_a_canvas_leaves_its_samples_and_reduces_to_means() -> None:
    black = np.zeros((4, 4, 3), np.uint8)
    canvas = Canvas(black)
    canvas.rectangle((0, 0, 0, 3), (200, 100, 0))
    assert not black.any()
    assert canvas.samples(2)[:, :, 0].tolist() == [[100, 0], [100, 0]]
