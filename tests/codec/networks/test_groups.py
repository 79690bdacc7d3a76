"""Rearranging latents into coding groups, against loops that follow the definition position by position."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from codec.architecture import Order
from codec.networks.groups import (
    Group,
    coding_groups,
    deal_channels,
    merge_colours,
    rearrange,
    restore,
    split_colours,
)

SIZES = [(1, 2), (2, 2), (4, 6), (5, 8), (3, 8)]


def test_few_strong_channels_come_first_and_weak_ones_fill_up() -> None:
    order = deal_channels(320, 4)
    expected = [*range(8), *range(248, 320), *range(8, 32), *range(192, 248), *range(32, 104), *range(184, 192)]
    assert order == [*expected, *range(104, 184)]


@given(st.integers(1, 6), st.integers(1, 40))
def test_every_channel_is_dealt_once(segments: int, size: int) -> None:
    order = deal_channels(segments * size, segments)
    assert sorted(order) == list(range(segments * size)) and order[0] == 0
    firsts = [order[segment * size] for segment in range(segments)]
    assert firsts == sorted(firsts)


@given(
    batch=st.integers(1, 2),
    segments=st.integers(1, 4),
    width_of_segment=st.integers(1, 3),
    height=st.integers(1, 9),
    half=st.integers(1, 5),
    order=st.sampled_from(["sfo", "cfo"]),
)
def test_restore_undoes_rearrange(
    batch: int, segments: int, width_of_segment: int, height: int, half: int, order: Order
) -> None:
    y = torch.randn(batch, segments * width_of_segment, height, 2 * half)
    tokens = rearrange(y, segments, order)
    assert tokens.shape == (batch, 2 * segments, height, half, width_of_segment)
    assert torch.equal(restore(tokens, segments, order), y)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_colours_are_a_checkerboard(height: int, width: int) -> None:
    x = torch.randn(2, 3, height, width)
    expected = torch.zeros(2, 2, height, width // 2, 3)
    for row in range(height):
        for column in range(width):
            colour = 0 if (row + column) % 2 == 0 else 1
            expected[:, colour, row, column // 2] = x[:, :, row, column]
    assert torch.equal(split_colours(x), expected)
    assert torch.equal(merge_colours(expected), x)


@pytest.mark.parametrize("order", ["sfo", "cfo"])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_each_plane_is_the_group_of_its_place_in_the_order(order: Order, height: int, width: int) -> None:
    segments, p = 3, 2
    y = torch.randn(1, segments * p, height, width)
    tokens = rearrange(y, segments, order)
    for g, (segment, colour) in enumerate(coding_groups(segments, order)):
        assert torch.equal(tokens[:, g], split_colours(y[:, segment * p : (segment + 1) * p])[:, colour])


def test_order_sfo_walks_segments_and_cfo_colours_first() -> None:
    assert coding_groups(3, "sfo") == [Group(0, 0), Group(0, 1), Group(1, 0), Group(1, 1), Group(2, 0), Group(2, 1)]
    assert coding_groups(3, "cfo") == [Group(0, 0), Group(1, 0), Group(2, 0), Group(0, 1), Group(1, 1), Group(2, 1)]
