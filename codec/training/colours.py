"""Colours of procedural pictures, drawn at random: saturated ones, greys, and pairs that text is legible in."""

import numpy as np

from codec.images.drawing import Colour

Rng = np.random.Generator


def draw_colour(rng: Rng) -> Colour:
    """Draw a colour: a corner of the RGB cube, a saturated hue, a grey, or any."""
    kind = rng.random()
    if kind < 0.3:
        level = 255 * rng.integers(0, 2, 3)
    elif kind < 0.6:  # one channel full, one empty, one between: the most saturated colours
        level = rng.permutation([0, 255, rng.integers(0, 256)])
    elif kind < 0.75:
        level = np.repeat(rng.choice([0, 20, 128, 236, 255, rng.integers(0, 256)]), 3)
    else:
        level = rng.integers(0, 256, 3)
    return (int(level[0]), int(level[1]), int(level[2]))


def between(a: Colour, b: Colour) -> Colour:
    """Return the colour halfway from a to b."""
    return ((a[0] + b[0]) // 2, (a[1] + b[1]) // 2, (a[2] + b[2]) // 2)


def draw_paper_and_ink(rng: Rng) -> tuple[Colour, Colour]:
    """Draw a background and a colour of text: most often dark on light or light on dark."""
    kind = rng.random()
    dark, light = (int(rng.integers(0, 50)),) * 3, (int(rng.integers(225, 256)),) * 3
    if kind < 0.4:
        return light, dark
    return (dark, light) if kind < 0.6 else (draw_colour(rng), draw_colour(rng))
