"""Latents of several tiles: parts, and what is held of them."""

import math

import pytest
import torch

from codec.bitstream.tiles import Rect, tiles_of
from codec.errors import BitstreamError
from codec.interface import Latents
from codec.latents import HELD_MAX, cut, held, joined, part_of, tile_latents
from codec.model import Codec

AREA, PART = Rect(64, 0, 320, 192), Rect(128, 64, 320, 128)


def latents_of(codec: Codec, area: Rect) -> Latents:
    return Latents(*(torch.arange(math.prod(s)).reshape(s) % 101 - 50.0 for s in codec.latent_shapes(*area.size)))


def test_a_part_has_the_latents_at_its_place(tiny_codec: Codec) -> None:
    latents = latents_of(tiny_codec, AREA)
    y, z = cut(latents, AREA, PART)
    assert torch.equal(y, latents.y[..., 4:8, 4:16]) and torch.equal(z, latents.z[..., 1:2, 1:4])
    y.zero_()
    assert not bool(latents.y[..., 4:8, 4:16].any()), "they share memory"


def test_what_is_held_comes_back_in_single_precision(tiny_codec: Codec) -> None:
    latents = latents_of(tiny_codec, AREA)
    kept = held(latents)
    assert {v.dtype for v in kept} == {torch.int16}
    for part in (AREA, PART):
        found, right = part_of(kept, AREA, part), cut(latents, AREA, part)
        assert all(torch.equal(a, b) for a, b in zip(found, right, strict=True))
    copy = part_of(latents, AREA, PART)
    copy.y.zero_()
    assert bool(latents.y[..., 4:8, 4:16].any()), "a part of floats is a copy"


def test_latents_out_of_range_are_held_at_its_ends_and_nan_is_refused() -> None:
    wide = torch.tensor([-1e9, -HELD_MAX, 0.0, HELD_MAX, 2.0**30])
    assert held(Latents(wide, wide)).y.tolist() == [-HELD_MAX, -HELD_MAX, 0, HELD_MAX, HELD_MAX]
    for bad in (math.nan, math.inf):
        with pytest.raises(BitstreamError, match="not finite"):
            held(Latents(torch.zeros(2), torch.tensor([0.0, bad])))


def test_tiles_joined_are_the_picture(tiny_codec: Codec) -> None:
    whole = Rect(0, 0, 300, 200)
    latents = held(latents_of(tiny_codec, whole))
    tiles = list(tile_latents(latents, *whole.size, 128))
    rects = tiles_of(*whole.size, 128)
    assert [tuple(v.y.shape[2:]) for v in tiles] == [(8, 8), (8, 12), (8, 8), (8, 12)]
    known = {rect: held(tile) for rect, tile in zip(rects, tiles, strict=True)}
    again = joined(tiny_codec, known, whole)
    assert again.y.dtype == torch.float32
    assert all(torch.equal(a, b.float()) for a, b in zip(again, latents, strict=True))
    del known[rects[0]]
    assert not bool(joined(tiny_codec, known, whole).y[..., :8, :8].any()), "unknown latents are 0"
    assert torch.equal(joined(tiny_codec, known, rects[1]).y, tiles[1].y)
