"""A procedural landscape: sky, hazy ridges and a lake, for demos and examples where no photograph is at hand.

Its textures are noise whose amplitude falls with frequency as that of photographs does, about as 1 / f. The invariant:
equal arguments give equal pixels, up to the rounding of the machine's Fourier transform.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from codec.images.pixels import Samples

Plane = NDArray[np.float64]
SHORE = 0.72  # of the height: above it land, below it water
RIDGES = 5  # from the far one, in the haze, to the near one
GRAIN = 1.5  # levels, of a camera's noise


class Light(NamedTuple):
    """Colours of an hour of the day, in levels: zenith, horizon, clouds, far and near land."""

    zenith: tuple[int, int, int]
    horizon: tuple[int, int, int]
    clouds: tuple[int, int, int]
    far: tuple[int, int, int]
    near: tuple[int, int, int]


LIGHTS = (
    Light((64, 118, 190), (205, 220, 232), (250, 250, 248), (138, 164, 186), (38, 58, 24)),  # noon
    Light((52, 62, 116), (244, 168, 104), (250, 196, 150), (150, 112, 128), (34, 28, 26)),  # dusk
    Light((110, 150, 168), (236, 222, 198), (255, 246, 230), (156, 172, 166), (62, 66, 26)),  # morning
)


def landscape(width: int, height: int, seed: int = 0) -> Samples:
    """Draw a landscape, uint8 (height, width, 3); the seed also chooses the hour of the day, modulo their number."""
    rng, light = np.random.default_rng((seed, 17)), LIGHTS[seed % len(LIGHTS)]
    shore = max(1, round(SHORE * height))
    rows = np.linspace(0, 1, shore)[:, None]  # 0 at the top, 1 at the shore
    clouds = np.clip(0.55 * _noise((shore, width), rng, 1.7) + 0.3, 0, 1) * (1 - rows)
    sky = _blend(np.broadcast_to(rows, (shore, width)) ** 1.5, light.zenith, light.horizon)
    land = sky + clouds[..., None] * (np.array(light.clouds) - sky)
    for ridge in range(RIDGES):
        near = (ridge + 1) / RIDGES
        crest = 0.45 + 0.5 * near + (0.16 - 0.1 * near) * _noise((1, width), rng, 1.4)  # in rows, as a fraction
        colour = _blend(np.full((shore, width), near**0.8), light.far, light.near)
        texture = _noise((shore, width), rng, 0.9) * (0.35 * near)
        colour = colour * np.exp(0.6 * texture)[..., None]
        edge = np.clip((rows - crest) * shore, 0, 1)[..., None]  # over one pixel
        land = land + edge * (colour - land)
    return _rendered(np.concatenate([land, _water(land, height - shore, rng)]), rng)


def _water(land: Plane, height: int, rng: np.random.Generator) -> Plane:
    """Mirror the land above the shore in waves that grow towards the viewer, (height, width, 3)."""
    shore, width = land.shape[:2]
    if not height:
        return land[:0]
    depth = np.arange(height)[:, None]  # px below the shore
    waves = _noise((height, max(1, width // 6)), rng, 1.0).repeat(6, 1)[:, :width]
    waves = np.pad(waves, ((0, 0), (0, width - waves.shape[1])), mode="edge")
    mirrored = shore - 1 - depth * (shore / max(1, height)) * 0.8 - waves * (1 + 0.06 * depth)
    rows = np.clip(mirrored.round().astype(int), 0, shore - 1)
    return 0.72 * land[rows, np.arange(width)] + np.array([6.0, 14.0, 20.0])


def _noise(shape: tuple[int, int], rng: np.random.Generator, exponent: float) -> Plane:
    """Return noise of mean 0 and deviation 1 whose amplitude falls with frequency f as f^-exponent; it wraps round."""
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1]))
    frequency[0, 0] = np.inf  # no mean
    noise = np.fft.irfft2(np.fft.rfft2(rng.normal(size=shape)) * frequency**-exponent, shape)
    return noise / max(float(noise.std()), 1e-9)


def _blend(weight: Plane, first: tuple[int, int, int], second: tuple[int, int, int]) -> Plane:
    """Mix two colours by a weight (H, W) of the second, (H, W, 3)."""
    return np.array(first) + weight[..., None] * (np.array(second) - np.array(first))


def _rendered(levels: Plane, rng: np.random.Generator) -> Samples:
    """Add grain and round to 8 bits."""
    return (levels + rng.normal(0, GRAIN, levels.shape)).round().clip(0, 255).astype(np.uint8)
