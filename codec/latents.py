"""Latents of pictures of several tiles: cut into those of tiles, held in half the memory, joined.

Rounded latents of several tiles are whole numbers, mostly below a few hundred: the grid of a codec that has tiles is
zero. They are held as int16; networks and entropy coder get those of a part in single precision.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from codec.architecture import STRIDE, Y_PIXELS
from codec.bitstream.tiles import Rect, tiles_of
from codec.errors import BitstreamError
from codec.interface import Latents, Refinable

HELD_MAX = torch.iinfo(torch.int16).max
SYMBOL_TOLERANCE = 0.25  # quantisation steps: nearer latents are one symbol, as their grids differ by rounding errors


def cut(latents: Latents, area: Rect, part: Rect) -> Latents:
    """Return the latents of a part of an area, whose left and top edges are multiples of 64; they share memory."""
    if part == area:
        return latents

    def of(v: Tensor, px: int) -> Tensor:
        rows, columns = (
            slice((low - origin) // px, (high - origin + STRIDE - 1) // STRIDE * (STRIDE // px))
            for low, high, origin in ((part.top, part.bottom, area.top), (part.left, part.right, area.left))
        )
        return v[..., rows, columns]

    return Latents(of(latents.y, Y_PIXELS), of(latents.z, STRIDE))


def part_of(latents: Latents, area: Rect, part: Rect) -> Latents:
    """Return the latents of a part of an area as `cut` does, in single precision; of less than the area as a copy."""
    if part == area:
        return Latents(*(v.float() for v in latents))
    return Latents(*(v.to(torch.float32, copy=True) for v in cut(latents, area, part)))


def tile_latents(latents: Latents, width: int, height: int, tile: int) -> Iterator[Latents]:
    """Return the latents of each tile of a picture in single precision."""
    whole = Rect(0, 0, width, height)
    return (part_of(latents, whole, rect) for rect in tiles_of(width, height, tile))


def held(latents: Latents) -> Latents:
    """Return rounded latents as int16, those beyond its range at its ends.

    Raises:
        BitstreamError: NaN or infinite latents.
    """
    check_finite(latents)
    return Latents(*(v.clamp(-HELD_MAX, HELD_MAX).to(torch.int16) for v in latents))


def check_finite(latents: Latents) -> None:
    """Raise where latents are NaN or infinite.

    Raises:
        BitstreamError: they are.
    """
    if not all(bool(v.isfinite().all()) for v in latents):
        raise BitstreamError("the latents are not finite numbers: the model's weights do not suit this picture")


def joined(codec: Refinable, known: dict[Rect, Latents], part: Rect) -> Latents:
    """Return the latents of a part of a picture, put together from those of tiles, in single precision.

    Where none is known they are 0.
    """
    if part in known:
        return part_of(known[part], part, part)
    whole = Latents(*(torch.zeros(shape, device=codec.device) for shape in codec.latent_shapes(*part.size)))
    for tile, latents in known.items():
        if tile.meets(part):
            common = tile.common(part)
            for target, own in zip(cut(whole, part, common), cut(latents, tile, common), strict=True):
                target.copy_(own)
    return whole


def no_latents(codec: Refinable, width: int, height: int) -> Latents:
    """Return zeros in the place of latents that no file holds; they take no memory."""
    return Latents(*(torch.zeros((), device=codec.device).expand(s) for s in codec.latent_shapes(width, height)))


def same_symbols(a: Latents, b: Latents) -> bool:
    """Tell whether two rounded latents have the same symbols: they may differ by rounding errors of their grids."""
    return all(u.shape == v.shape and bool(((u - v).abs() < SYMBOL_TOLERANCE).all()) for u, v in zip(a, b, strict=True))
