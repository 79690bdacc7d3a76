"""Procedural screens: shapes, pages of text, windows and charts, drawn as applications draw them."""

import numpy as np

from codec.images.drawing import Canvas, Colour
from codec.images.pixels import Samples
from codec.training.colours import Rng, between, draw_colour, draw_paper_and_ink

LETTERS = np.array(list("eeeetttaaaooiinnsshhrrddlcumwfgypbvk"))  # about as often as in English


def draw_shapes(side: int, rng: Rng) -> Samples:
    """Draw one to thirty flat areas, their edges hard or smooth."""
    scale = int(rng.integers(1, 3))
    canvas = Canvas(_sheet(scale * side, draw_colour(rng)))
    for _ in range(int(rng.choice([0, 1, 3, 8, 30]))):
        box, shape = draw_box(scale * side, rng), rng.random()
        if shape < 0.5:
            canvas.rectangle(box, draw_colour(rng))
        elif shape < 0.75:
            canvas.ellipse(box, draw_colour(rng))
        else:
            canvas.polygon([(int(x), int(y)) for x, y in rng.integers(0, scale * side, (3, 2))], draw_colour(rng))
    return canvas.samples(scale)


def draw_page(side: int, rng: Rng) -> Samples:
    """Draw a page of text in one font, sizes from a footnote's to a headline's."""
    paper, ink = draw_paper_and_ink(rng)
    canvas = Canvas(_sheet(side, paper), smooth=rng.random() < 0.8)
    font, size, y = int(rng.integers(0, 1000)), int(rng.choice([8, 9, 10, 11, 12, 13, 14, 16, 20, 28, 44])), 0
    while y < side:
        colour = ink if rng.random() < 0.85 else draw_colour(rng)
        canvas.text(
            (rng.integers(0, 24), y), _words(rng, int(rng.integers(5, 6 + 2 * side // size))), colour, font, size
        )
        y += int(size * rng.uniform(1.1, 1.8))
    return canvas.samples()


def draw_interface(side: int, rng: Rng) -> Samples:
    """Draw windows with title bars, buttons, lines of one pixel and rows of text."""
    canvas = Canvas(_sheet(side, draw_colour(rng)), smooth=rng.random() < 0.8)
    for _ in range(int(rng.integers(1, 5))):
        left, top = (int(rng.integers(-side // 4, side // 2)) for _ in range(2))
        right, bottom = left + int(rng.integers(120, side + 120)), top + int(rng.integers(100, side + 100))
        (paper, ink), bar, accent = draw_paper_and_ink(rng), draw_colour(rng), draw_colour(rng)
        font, size = int(rng.integers(0, 1000)), int(rng.integers(9, 17))
        step, line = size + int(rng.integers(4, 14)), between(paper, ink)
        canvas.rectangle((left, top, right, bottom), paper, outline=line, radius=rng.choice([0, 0, 4, 9]))
        canvas.rectangle((left, top, right, top + step), bar)
        canvas.text((left + 6, top + 3), _words(rng, 14), (255,) * 3, font, size)
        for y in range(top + step + 8, bottom - step, step):
            if rng.random() < 0.8:
                canvas.text((left + 10, y), _words(rng, (right - left) // size), ink, font, size)
            if rng.random() < 0.4:
                canvas.line([(left + 8, y + step - 2), (right - 8, y + step - 2)], line)
            if rng.random() < 0.15:
                canvas.rectangle((right - 90, y, right - 12, y + step - 3), accent, line, rng.choice([0, 3, 6]))
                canvas.text((right - 80, y + 1), _words(rng, 4), paper, font, size)
    return canvas.samples()


def draw_chart(side: int, rng: Rng) -> Samples:
    """Draw curves, bars or a pie over a grid, with labels; edges hard, or smooth where drawn at twice the size."""
    scale = int(rng.integers(1, 3))
    big, (paper, ink), kind = scale * side, draw_paper_and_ink(rng), rng.random()
    canvas = Canvas(_sheet(big, paper))
    for at in range(0, big, int(scale * rng.integers(16, 80))):
        canvas.line([(0, at), (big, at)], (225, 225, 225))
        canvas.text((2, at), str(rng.integers(0, 1000)), ink, int(rng.integers(0, 1000)), 11 * scale)
    for _ in range(int(rng.integers(1, 6))):
        colour = draw_colour(rng)
        if kind < 0.5:
            heights = big * (0.5 + 0.04 * rng.standard_normal(big // 4).cumsum())
            canvas.line(list(zip(range(0, big, 4), heights.tolist(), strict=False)), colour, int(rng.integers(1, 4)))
        elif kind < 0.8:
            width = int(rng.integers(4, 40))
            for left in range(int(rng.integers(0, big)) % (2 * width), big, 6 * width):
                canvas.rectangle((left, rng.integers(0, big), left + width, big), colour)
        else:
            start = float(rng.uniform(0, 360))
            canvas.slice((20, 20, big - 20, big - 20), start, start + float(rng.uniform(5, 200)), colour)
    return canvas.samples(scale)


def _words(rng: Rng, length: int) -> str:
    """Draw about `length` characters of words and figures."""
    text = ""
    while len(text) < length:
        word = "".join(rng.choice(LETTERS, rng.integers(1, 10)))
        kind = rng.random()
        text += str(rng.integers(0, 5000)) if kind < 0.12 else word.capitalize() if kind < 0.3 else word
        text += str(rng.choice([" ", " ", " ", " ", ", ", ". ", " - ", " = ", "(", ") ", "/", ": "]))
    return text


def _sheet(side: int, colour: Colour) -> Samples:
    return np.full((side, side, 3), colour, np.uint8)


def draw_box(side: int, rng: Rng) -> tuple[int, int, int, int]:
    """Draw a box: left, top, right and bottom, of any size that is at least a pixel."""
    x, y = (np.sort(rng.integers(0, side, 2)) for _ in range(2))
    return int(x[0]), int(y[0]), int(x[1]), int(y[1])
