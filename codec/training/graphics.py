"""Procedural pictures for training: what folders hold beside photographs, drawn in a few milliseconds each.

A codec that saw photographs alone turns flat magenta into noise. Sheets of flat and graded colours, lamps, text, user
interfaces, charts, pixel art, dithers, halftones, patterns and noise teach it what lies outside of them. A sheet is a
function of (seed, its index) and of the machine's fonts.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from codec.images.drawing import Colour
from codec.images.pixels import Samples
from codec.training.colours import Rng, draw_colour
from codec.training.screens import draw_box, draw_chart, draw_interface, draw_page, draw_shapes

Plane = NDArray[np.float32]

BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.float32) / 16 + 1 / 32


def draw_sheets(count: int, side: int, seed: int) -> list[Samples]:
    """Draw `count` pictures, uint8 (side, side, 3), by the kinds of `KINDS` in turn."""
    with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:
        return list(pool.map(lambda index: draw_sheet(index, side, seed), range(count)))


def draw_sheet(index: int, side: int, seed: int) -> Samples:
    """Draw the picture of an index, uint8 (side, side, 3); indexes go round the kinds of `KINDS`."""
    return KINDS[index % len(KINDS)](side, np.random.default_rng((seed, index, 4)))


def _ramp(side: int, rng: Rng) -> Plane:
    """Draw a plane (side, side) in 0..1: linear at any angle, or falling from a point."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    if rng.random() < 0.5:
        angle = rng.choice([0, 0.5 * np.pi, rng.uniform(0, 2 * np.pi)])
        ramp = np.cos(angle) * x + np.sin(angle) * y
    else:
        ramp = np.hypot(x - rng.random(), y - rng.random())
    low, high = ramp.min(), ramp.max()
    return np.power((ramp - low) / (high - low), rng.choice([0.5, 1, 1, 2]), dtype=np.float32)


def _blend(weight: NDArray[Any], colours: list[Colour]) -> NDArray[np.float32]:
    """Interpolate between colours that are evenly spaced over a plane's 0..1; (H, W, 3) on 0..255."""
    at = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(weight, at, [c[k] for c in colours]) for k in range(3)], -1).astype(np.float32)


def _to_samples(levels: NDArray[Any]) -> Samples:
    return np.clip(np.round(levels), 0, 255).astype(np.uint8)


def _noise(side: int, rng: Rng, sigma: float) -> NDArray[np.float32]:
    """Draw Gaussian noise (side, side, 3), half the time the same in all channels."""
    channels = 1 if rng.random() < 0.5 else 3
    return np.broadcast_to(sigma * rng.standard_normal((side, side, channels), np.float32), (side, side, 3))


def _mosaic(side: int, rng: Rng) -> Samples:
    """Draw a grid of flat tiles of 1 to 96 pixels in many colours, as a chart of colours or a rainbow."""
    width, height = (int(rng.choice([1, 2, 5, 12, 16, 32, 35, 64, 96])) for _ in range(2))
    palette = np.array([draw_colour(rng) for _ in range(int(rng.integers(2, 64)))], np.uint8)
    picked = rng.integers(0, len(palette), (-(-side // height), -(-side // width)))
    tiles = picked if rng.random() < 0.7 else (np.arange(picked.shape[1]) % len(palette))[None].repeat(len(picked), 0)
    return palette[tiles.repeat(height, 0).repeat(width, 1)[:side, :side]]


def _graded(side: int, rng: Rng) -> Samples:
    """Draw a gradient through two to four colours, bare or with a sensor's noise."""
    levels = _blend(_ramp(side, rng), [draw_colour(rng) for _ in range(int(rng.integers(2, 5)))])
    return _to_samples(levels + _noise(side, rng, rng.choice([0, 0, 1, 3, 8])))


def _lamps(side: int, rng: Rng) -> Samples:
    """Draw saturated lamps that clip in a dark room, with a sensor's noise, as on a stage."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    levels = np.full((side, side, 3), rng.uniform(0, 40), np.float32)
    for _ in range(int(rng.integers(1, 7))):
        away = np.hypot(x - rng.uniform(0, side), y - rng.uniform(0, side)) - rng.uniform(0, side / 3)
        glow = np.clip(rng.uniform(0.8, 1.6) - np.maximum(away, 0) / rng.uniform(4, side / 3), 0, None)
        levels += np.minimum(glow, 1.3)[..., None] * np.array(draw_colour(rng), np.float32)
    return _to_samples(levels + _noise(side, rng, rng.uniform(0, 5)))


def _pixel_art(side: int, rng: Rng) -> Samples:
    """Draw repeated sprites of few colours, each of their pixels 1 to 16 pixels wide."""
    zoom, cell = int(rng.choice([1, 2, 3, 4, 8, 16])), int(rng.choice([8, 16, 24]))
    palette = np.array([draw_colour(rng) for _ in range(int(rng.integers(2, 9)))], np.uint8)
    halves = np.minimum(rng.integers(0, 2 * len(palette), (6, cell, cell // 2)), len(palette) - 1)  # mostly the last
    sprites = palette[np.concatenate([halves, halves[:, :, ::-1]], 2)]  # (6, cell, cell, 3), symmetric
    count = -(-side // (zoom * cell))
    rows = sprites[rng.integers(0, len(sprites), (count, count))]  # (count, count, cell, cell, 3)
    picture = rows.transpose(0, 2, 1, 3, 4).reshape(count * cell, count * cell, 3)
    return picture.repeat(zoom, 0).repeat(zoom, 1)[:side, :side]


def _dither(side: int, rng: Rng) -> Samples:
    """Draw a gradient in two colours, dithered by a random or an ordered threshold, pixels 1 to 3 wide."""
    zoom = int(rng.choice([1, 1, 2, 3]))
    small = -(-side // zoom)
    tiled = np.tile(BAYER, (small // 4 + 1, small // 4 + 1))[:small, :small]
    threshold = tiled if rng.random() < 0.5 else rng.random((small, small), np.float32)
    pair = (
        np.array([draw_colour(rng), draw_colour(rng)], np.uint8)
        if rng.random() < 0.5
        else np.array([[0] * 3, [255] * 3])
    )
    dots = pair.astype(np.uint8)[(_ramp(small, rng) > threshold).astype(int)]
    return dots.repeat(zoom, 0).repeat(zoom, 1)[:side, :side]


def _halftone(side: int, rng: Rng) -> Samples:
    """Draw a gradient as dots of a printer's screen, in one ink or in three."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    period, sharp = rng.uniform(3, 16), rng.uniform(1, 6)
    levels = np.empty((side, side, 3), np.float32)
    inks = 1 if rng.random() < 0.5 else 3
    for ink in range(inks):
        angle = rng.uniform(0, np.pi)
        u, v = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
        screen = np.sin(2 * np.pi * u / period) * np.sin(2 * np.pi * v / period)
        dots = 255 * np.clip(0.5 + sharp * (screen + 2 * _ramp(side, rng) - 1), 0, 1)
        levels[..., ink:] = dots[..., None]
    return _to_samples(levels)


def _pattern(side: int, rng: Rng) -> Samples:
    """Draw stripes, a checkerboard, waves or rings, periods from two pixels."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32)
    kind, width = rng.random(), int(rng.choice([1, 1, 2, 3, 4, 8, 20]))
    if kind < 0.3:
        weight = (x // width + y // width) % 2
    elif kind < 0.6:
        weight = (x if rng.random() < 0.5 else y) // width % 2
    elif kind < 0.8:
        angle = rng.uniform(0, np.pi)
        weight = 0.5 + 0.5 * np.sin(np.pi / (width + rng.random()) * (np.cos(angle) * x + np.sin(angle) * y))
    else:  # rings, ever finer
        weight = 0.5 + 0.5 * np.cos(np.pi * ((x - side / 2) ** 2 + (y - side / 2) ** 2) / (side * width))
    return _to_samples(_blend(weight, [draw_colour(rng), draw_colour(rng)]))


def _static(side: int, rng: Rng) -> Samples:
    """Draw noise about a colour, fine or in blocks of up to 8 pixels, weak to full."""
    zoom = int(rng.choice([1, 1, 2, 4, 8]))
    noise = _noise(-(-side // zoom), rng, rng.choice([2, 8, 30, 100, 400])).repeat(zoom, 0).repeat(zoom, 1)
    return _to_samples(np.array(draw_colour(rng), np.float32) + noise[:side, :side])


def _collage(side: int, rng: Rng) -> Samples:
    """Draw one kind over another, in boxes."""
    picked = rng.choice(len(KINDS) - 1, 2)
    picture, over = (KINDS[kind](side, rng).copy() for kind in picked)
    for _ in range(int(rng.integers(1, 9))):
        left, top, right, bottom = draw_box(side, rng)
        picture[top:bottom, left:right] = over[top:bottom, left:right]
    return picture


KINDS: tuple[Callable[[int, Rng], Samples], ...] = (
    draw_shapes, _mosaic, _graded, _lamps, draw_page, draw_interface, draw_chart, _pixel_art, _dither, _halftone,
    _pattern, _static,
    draw_shapes, _graded, _lamps, draw_page, draw_interface,  # again: they matter most, and cost least bits
    _collage,  # the last: it picks among those before
)  # fmt: skip
