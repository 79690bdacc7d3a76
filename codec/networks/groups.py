"""Coding groups: channel segments x checkerboard colours, and their efficient rearrangement (EGR).

    y (B, M, H, W)  --rearrange-->  tokens (B, G, H, W/2, p)      G = 2 * segments, p = M / segments

Colour A holds the positions with (row + column) even, B the others. Each colour is squeezed to half the width, so that
a plane of tokens is dense: column c of a plane is image column 2c or 2c+1. W is even: latents come in multiples of
four. The invariant: `restore(rearrange(y)) == y`, and plane g is coded before plane g + 1.

Source: eContextformer (arXiv:2306.14287), section on efficient group rearrangement; orders sfo and cfo from
Contextformer (arXiv:2203.02452).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from codec.architecture import Order


class Group(NamedTuple):
    """Coding step: a channel segment and a checkerboard colour (0 = A, 1 = B)."""

    segment: int
    colour: int


def coding_groups(segments: int, order: Order) -> list[Group]:
    """Return the coding order: sfo is (s0,A)(s0,B)(s1,A)...; cfo is (s0,A)(s1,A)...(s0,B)..."""
    if order == "sfo":
        return [Group(s, c) for s in range(segments) for c in (0, 1)]
    return [Group(s, c) for c in (0, 1) for s in range(segments)]


def deal_channels(channels: int, segments: int) -> list[int]:
    """Return an order of channel indices that gives segments of equal size uneven numbers of bits.

    Half of the first segment is coded without any context, so it should hold few bits. Each segment gets some of the
    strongest channels left, a tenth of its size in the first and three times as many in each further one, and is filled
    with the weakest, which cost almost nothing: 320 channels in four segments are dealt as 0-7 248-319, 8-31 192-247,
    32-103 184-191, 104-183.

    Args:
        channels: number of channels, which come sorted by falling variance; a multiple of `segments`.
        segments: number of segments.

    Source: the uneven groups of ELIC (arXiv:2203.10886), here in segments of even shapes.
    """
    size = channels // segments
    left, order = list(range(channels)), list[int]()
    for segment in range(segments):
        strong = min(size, max(1, size * 3**segment // 10))
        weak = len(left) - (size - strong)
        order += left[:strong] + left[weak:]
        left = left[strong:weak]
    return order


def split_colours(x: Tensor) -> Tensor:
    """Split x (B, C, H, W), W even, into the checkerboard colours, squeezed, channels last: (B, 2, H, W/2, C)."""
    pairs = _swap_odd_rows(x.unflatten(-1, (-1, 2)))  # (B, C, H, W/2, 2)
    return pairs.permute(0, 4, 2, 3, 1)


def merge_colours(colours: Tensor) -> Tensor:
    """Invert `split_colours`: merge colours (B, 2, H, W/2, C) to (B, C, H, W)."""
    pairs = colours.permute(0, 4, 2, 3, 1)  # (B, C, H, W/2, 2)
    return _swap_odd_rows(pairs).flatten(-2)


def _swap_odd_rows(pairs: Tensor) -> Tensor:
    """Swap the columns of each pair (B, C, H, W/2, 2) in odd rows, where colour A is in the second; an involution."""
    odd = torch.arange(pairs.shape[2], device=pairs.device).remainder(2).bool()[:, None, None]
    return torch.where(odd, pairs.flip(-1), pairs)


def rearrange(y: Tensor, segments: int, order: Order) -> Tensor:
    """Rearrange latents y (B, M, H, W), W even, to tokens (B, G, H, W/2, p) in coding order."""
    colours = split_colours(y).unflatten(-1, (segments, -1))  # (B, 2, H, W/2, S, p)
    if order == "sfo":
        return colours.permute(0, 4, 1, 2, 3, 5).flatten(1, 2)  # (B, S, 2, ...) -> (B, G, H, W/2, p)
    return colours.permute(0, 1, 4, 2, 3, 5).flatten(1, 2)  # (B, 2, S, ...) -> (B, G, H, W/2, p)


def restore(tokens: Tensor, segments: int, order: Order) -> Tensor:
    """Invert `rearrange`: put tokens (B, G, H, W/2, p) back as latents (B, M, H, W)."""
    if order == "sfo":
        colours = tokens.unflatten(1, (segments, 2)).permute(0, 2, 3, 4, 1, 5)
    else:
        colours = tokens.unflatten(1, (2, segments)).permute(0, 1, 3, 4, 2, 5)
    return merge_colours(colours.flatten(-2))  # from (B, 2, H, W/2, S, p)
