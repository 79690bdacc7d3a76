"""RGB colour spaces by primaries, white and transfer function, and the conversion of samples from one to 8-bit sRGB.

Everything is computed in floating point from samples of any depth, so that deep linear samples keep their shadows.
Light is relative: 1 is the white of an ordinary picture, for HDR the reference white of 203 cd/m2 (ITU-R BT.2408).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codec.images.pixels import Samples

Levels = NDArray[np.uint8] | NDArray[np.uint16]
Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]  # samples in 0..1 -> light
Chromaticities = tuple[float, float, float, float, float, float, float, float]  # x, y of red, green, blue, white

D65, D50_XYZ = (0.3127, 0.3290), np.array([0.9642, 1.0, 0.8249])  # D50 as profiles have it
BT709: Chromaticities = (0.640, 0.330, 0.300, 0.600, 0.150, 0.060, *D65)
ADOBE: Chromaticities = (0.640, 0.330, 0.210, 0.710, 0.150, 0.060, *D65)
ADOBE_GAMMA = 563 / 256
SDR_WHITE_NITS, PQ_PEAK_NITS, HLG_PEAK_NITS, HLG_GAMMA = 203.0, 10_000.0, 1000.0, 1.2
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_LUMINANCE = np.array([0.2627, 0.6780, 0.0593])  # of BT.2020, in which HLG is made
_TOLERANCE = 2.0  # levels; spaces that near sRGB are sRGB written with few digits
_CHART = np.array([0, 4, 16, 32, 64, 96, 128, 160, 192, 224, 255], np.uint8)


@dataclass(frozen=True, eq=False)
class RgbSpace:
    """Colour space of RGB samples, or of grey ones by the curve of green.

    Attributes:
        matrix: (3, 3), from linear light in this space to that of sRGB.
        curves: of red, green and blue.
        is_scene: whether the curves give the light of the scene by HLG, from which a display makes its own.
    """

    matrix: NDArray[np.float64]
    curves: tuple[Curve, Curve, Curve]
    is_scene: bool = False


def space_of(chromaticities: Chromaticities, curve: Curve, is_scene: bool = False) -> RgbSpace:
    """Return the space of some primaries and white, adapted to the white of sRGB, with one curve for all channels.

    Raises:
        ValueError: the primaries or the white span no colours.
    """
    matrix = np.linalg.inv(_to_xyz_d50(BT709)) @ _to_xyz_d50(chromaticities)
    return RgbSpace(matrix, (curve, curve, curve), is_scene)


def space_of_xyz(columns: NDArray[np.float64], curves: tuple[Curve, Curve, Curve]) -> RgbSpace:
    """Return the space whose linear red, green and blue are the columns (3, 3), XYZ under D50, as in a profile."""
    return RgbSpace(np.linalg.inv(_to_xyz_d50(BT709)) @ columns, curves)


def _to_xyz_d50(chromaticities: Chromaticities) -> NDArray[np.float64]:
    """Return the matrix (3, 3) from linear RGB to XYZ under D50, by Bradford's adaptation of the white."""
    x, y = np.array(chromaticities).reshape(4, 2).T
    if (y <= 0).any() or not np.isfinite(chromaticities).all():
        raise ValueError(f"chromaticities {chromaticities}")
    xyz = np.stack([x / y, np.ones(4), (1 - x - y) / y])  # (3, 4), each of luminance 1
    primaries, white = xyz[:, :3], xyz[:, 3]
    if abs(np.linalg.det(primaries)) < 1e-6:
        raise ValueError(f"chromaticities {chromaticities}")
    adapt = np.linalg.inv(_BRADFORD) @ np.diag(_BRADFORD @ D50_XYZ / (_BRADFORD @ white)) @ _BRADFORD
    result: NDArray[np.float64] = adapt @ (primaries * np.linalg.solve(primaries, white))
    return result


def is_srgb(space: RgbSpace) -> bool:
    """Return whether no colour of a chart moves by more than the tolerance, so that samples may stay as they are."""
    chart = np.stack(np.meshgrid(_CHART, _CHART, _CHART), axis=-1).reshape(1, -1, 3)
    change = _srgb_levels(_light(chart, 255, space)) - chart
    return bool(np.abs(change).max() <= _TOLERANCE)


def converter(top: int, space: RgbSpace) -> Callable[[Levels], Samples]:
    """Return the function that turns levels, (H, W, 3) or grey (H, W), where `top` is that of white, into 8-bit sRGB.

    Colours that sRGB lacks are clipped, channel by channel, as is light beyond white.
    """
    tables = [curve(np.arange(top + 1) / top) for curve in space.curves]
    return lambda levels: np.rint(_srgb_levels(_look_up(levels, tables, space))).astype(np.uint8)


def _light(levels: Levels, top: int, space: RgbSpace) -> NDArray[np.float64]:
    """Return the linear sRGB light of levels (H, W, 3) or (H, W)."""
    return _look_up(levels, [curve(np.arange(top + 1) / top) for curve in space.curves], space)


def _look_up(levels: Levels, tables: list[NDArray[np.float64]], space: RgbSpace) -> NDArray[np.float64]:
    """Return the linear sRGB light of levels (H, W, 3) or (H, W), given each channel's light of every level."""
    if levels.ndim == 2:
        light = tables[1][levels]
        return _displayed(light, light) if space.is_scene else light
    light = np.stack([table[levels[..., channel]] for channel, table in enumerate(tables)], axis=-1)
    if space.is_scene:
        light = _displayed(light, (light @ _LUMINANCE)[..., None])
    return light @ space.matrix.T


def _displayed(light: NDArray[Any], luminance: NDArray[Any]) -> NDArray[Any]:
    """Return the light of HLG's reference display, of 1000 cd/m2, given that of the scene (ITU-R BT.2100)."""
    return light * np.maximum(luminance, 1e-9) ** (HLG_GAMMA - 1) * (HLG_PEAK_NITS / SDR_WHITE_NITS)


def _srgb_levels(light: NDArray[Any]) -> NDArray[Any]:
    """Return sRGB levels, 0..255 and not rounded, of linear light, clipped to 0..1 (IEC 61966-2-1)."""
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def srgb_curve(v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the light of sRGB samples (IEC 61966-2-1)."""
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def power_curve(gamma: float) -> Curve:
    """Return the curve v^gamma; 1 is linear."""
    return lambda v: v**gamma


def pq_curve(v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the light of PQ samples relative to 203 cd/m2, up to 49 (SMPTE ST 2084)."""
    p = v ** (32 / 2523)  # 1 / m2
    c1, c2, c3 = 3424 / 4096, 2413 / 128, 2392 / 128
    return (np.maximum(p - c1, 0) / (c2 - c3 * p)) ** (8192 / 1305) * (PQ_PEAK_NITS / SDR_WHITE_NITS)


def hlg_curve(v: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the light of the scene, 0..1, of HLG samples (ITU-R BT.2100)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(v <= 0.5, v**2 / 3, (np.exp((v - c) / a) + b) / 12)
