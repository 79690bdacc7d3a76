"""ICC profiles of a matrix and three curves, or of one curve for grey, read without a colour engine.

They are applied at any depth; LittleCMS as Pillow runs it takes 8 bits, and is ten levels off in the shadows of grey.

Format: ICC.1:2022, sections 7.2 (header), 10.6 (curveType) and 10.18 (parametricCurveType).
"""

import struct

import numpy as np
from numpy.typing import NDArray

from codec.images.rgb_space import Curve, RgbSpace, space_of_xyz

_HEADER_BYTES = 128
_TABLES = (b"A2B0", b"A2B1", b"A2B2", b"D2B0", b"D2B1")  # with one of these, the matrix is a rough substitute


def colour_space(profile: bytes) -> str:
    """Return the space of a profile's samples, `RGB`, `GRAY`, `CMYK`, ..., empty where there is no whole header."""
    return profile[16:20].decode("latin-1").strip() if profile[36:40] == b"acsp" else ""


def matrix_space(profile: bytes) -> RgbSpace | None:
    """Return the space of an RGB profile of matrix and curves, or of a grey one of a curve.

    Returns:
        None for any other, and for a damaged one.
    """
    try:
        tags, kind = _tags(profile), colour_space(profile)
        if kind not in ("RGB", "GRAY") or profile[20:24] != b"XYZ " or any(name in tags for name in _TABLES):
            return None
        if kind == "GRAY":
            return RgbSpace(np.eye(3), (_curve(tags[b"kTRC"]),) * 3)
        columns = np.stack([_xyz(tags[name]) for name in (b"rXYZ", b"gXYZ", b"bXYZ")], axis=1)
        red, green, blue = (_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC"))
        return space_of_xyz(columns, (red, green, blue))
    except (KeyError, ValueError, struct.error):
        return None


def _tags(profile: bytes) -> dict[bytes, bytes]:
    """Return the data of every tag by its signature."""
    (count,) = struct.unpack_from(">I", profile, _HEADER_BYTES)
    if count > 200:
        raise ValueError(f"{count} tags")
    entries = (struct.unpack_from(">4sII", profile, _HEADER_BYTES + 4 + 12 * i) for i in range(count))
    return {name: profile[at : at + size] for name, at, size in entries}


def _xyz(tag: bytes) -> NDArray[np.float64]:
    return np.array(struct.unpack_from(">3i", tag, 8)) / 65536


def _curve(tag: bytes) -> Curve:
    """Return the curve of a tag of type `curv` (a table, or one exponent) or `para` (a formula).

    Raises:
        ValueError: another type, or a formula that is not defined.
    """
    if tag[:4] == b"para":
        return _formula(struct.unpack_from(">H", tag, 8)[0], tag[12:])
    if tag[:4] != b"curv":
        raise ValueError(f"curve of type {tag[:4]!r}")
    (count,) = struct.unpack_from(">I", tag, 8)
    table = np.frombuffer(tag, ">u2", count, 12)
    if count == 0:
        return lambda v: v
    if count == 1:
        exponent = float(table[0]) / 256
        return lambda v: v**exponent
    places, values = np.linspace(0, 1, count), table / 65535
    return lambda v: np.interp(v, places, values)


def _formula(kind: int, parameters: bytes) -> Curve:
    """Return the parametric curve of a kind, 0 to 4: (a v + b)^g + c from d on, below it e v + f."""
    if kind > 4:
        raise ValueError(f"parametric curve {kind}")
    count = (1, 3, 4, 5, 7)[kind]
    g, *rest = (value / 65536 for value in struct.unpack_from(f">{count}i", parameters))
    a, b, c, d, e, f = 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
    if kind in (1, 2):  # c below the point where a v + b is 0
        a, b = rest[:2]
        c = rest[2] if kind == 2 else 0.0
        d, f = (-b / a if a else 0.0), c
    elif kind == 3:  # the linear part's slope is the third parameter
        a, b, e, d = rest
    elif kind == 4:
        a, b, e, d, c, f = rest
    return lambda v: np.where(v >= d, np.maximum(a * v + b, 0) ** g + c, e * v + f)
