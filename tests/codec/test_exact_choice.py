"""Choice of exact blocks: what photographs, drawings and both together are hoped to cost, and which blocks win."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from codec.exact_choice import (
    PlainCosts,
    block_errors,
    block_sums,
    choose_blocks,
    hoped_bits,
    hoped_costs,
    may_pay,
    plain_costs,
    repetition_bits,
)
from codec.images.lossless import write_lossless
from codec.images.mosaic import mask_shape
from codec.images.pixels import Pixels

RNG = np.random.default_rng(0)


def stripes(height: int, width: int) -> NDArray[np.uint8]:
    """A drawing of few colours."""
    rows, columns = np.mgrid[:height, :width]
    return np.where(((rows // 7 + columns // 11) % 3 == 0)[..., None], (30, 60, 200), (250, 240, 230)).astype(np.uint8)


def test_sums_and_errors_are_those_of_blocks_that_edges_cut() -> None:
    values = RNG.random((130, 70))
    sums = block_sums(values)
    assert sums.shape == (3, 2) == mask_shape(70, 130)
    assert sums[2, 1] == pytest.approx(values[128:, 64:].sum()) and sums.sum() == pytest.approx(values.sum())
    a, b = (Pixels(RNG.integers(0, 256, (130, 70, 3), dtype=np.uint8), grey=False) for _ in range(2))
    squared = np.square(a.data.astype(float) - b.data).mean(-1)
    assert np.allclose(block_errors(a, b), block_sums(squared))
    weight = RNG.random((130, 70)).astype(np.float32)
    assert np.allclose(block_errors(a, b, weight), block_sums(squared * weight))


def test_costs_hoped_for_take_less_memory_than_the_picture() -> None:
    pixels = Pixels(RNG.integers(0, 256, (2048, 2048, 3), dtype=np.uint8), grey=False)
    tracemalloc.start()
    hoped_costs(pixels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < pixels.data.nbytes / 2


def test_costs_of_blocks_add_up_to_the_file(photo: Callable) -> None:
    y, errors = torch.randn(1, 8, 12, 8).round(), RNG.random((3, 2))
    costs = plain_costs(y, 1000, errors, 500.0)
    assert costs.total == 8500 and costs.blocks.sum() == pytest.approx(8500)
    assert np.allclose(costs.scaled(0.5).blocks, costs.blocks / 2) and costs.scaled(0.5).total == 4250
    y[..., 4:8, :4] = 100
    assert plain_costs(y, 1000, np.zeros((3, 2)), 0.0).blocks.argmax() == 2  # row 1, column 0
    assert np.allclose(plain_costs(torch.zeros(1, 8, 1, 1), 60, np.zeros((3, 2)), 0.0).blocks.sum(), 480)


def test_photographs_are_hoped_to_cost_what_they_do_and_drawings_less(photo: Callable) -> None:
    noisy = np.clip(photo(192, 192) + RNG.normal(0, 4, (192, 192, 3)), 0, 255).astype(np.uint8)
    for picture, low, high in ((noisy, 0.5, 1.5), (stripes(192, 192), 0.0, 1.0)):
        pixels = Pixels(picture, grey=False)
        ratio = hoped_bits(pixels).sum() / (8 * len(write_lossless(picture, False, "quick")))
        assert low < ratio < high


def test_repetition_shows_where_no_block_can_see_it() -> None:
    tile = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    pixels = Pixels(np.tile(tile, (6, 4, 1)), grey=False)
    assert repetition_bits(pixels) < hoped_bits(pixels).sum() / 8
    assert hoped_costs(pixels).sum() == pytest.approx(repetition_bits(pixels))


def test_only_gains_worth_the_time_are_looked_at() -> None:
    hoped = np.array([[1000.0, 5000.0]])
    for blocks, pays in (([900.0, 900.0], False), ([1200.0, 900.0], False), ([4000.0, 900.0], True)):
        assert may_pay(hoped, PlainCosts(sum(blocks), np.array([blocks]))) == pays
    assert not may_pay(hoped, PlainCosts(10_000.0, np.array([[1500.0, 100.0]])))  # 5 % of the cost


def mixed() -> Pixels:
    """Noise on the left, a drawing on the right, 2 x 4 blocks."""
    picture = stripes(128, 256)
    picture[:, :128] = RNG.integers(0, 256, (128, 128, 3), dtype=np.uint8)
    return Pixels(picture, grey=False)


def chosen(blocks: NDArray[np.float64], cost_of: Callable[[NDArray[np.bool_]], float]) -> NDArray[np.bool_] | None:
    pixels, costs = mixed(), PlainCosts(float(blocks.sum()), blocks)
    return choose_blocks(pixels, costs, hoped_costs(pixels), cost_of).mask


LEARNED = np.full((2, 4), 20_000.0)
LOSSLESS = np.array([[98_000.0, 98_000, 3_000, 3_000]] * 2)


def test_the_drawing_is_exact_and_the_noise_is_not() -> None:
    mask = chosen(LEARNED, lambda mask: float(np.where(mask, LOSSLESS, LEARNED).sum()))
    assert mask is not None and mask.tolist() == [[False, False, True, True]] * 2


def test_all_blocks_are_exact_where_noise_is_dearer_learned() -> None:
    blocks = np.full((2, 4), 200_000.0)
    mask = chosen(blocks, lambda mask: float(np.where(mask, LOSSLESS, blocks).sum()))
    assert mask is not None and mask.all()


def test_none_is_exact_where_every_real_file_costs_more() -> None:
    assert chosen(LEARNED, lambda mask: float(LEARNED.sum()) + 1) is None


def test_the_set_grows_while_that_pays() -> None:
    # by the estimates the drawing's second column hardly pays; real files tell that it does
    blocks = np.array([[20_000.0, 20_000, 20_000, 1_000]] * 2)
    seen = []

    def cost(mask: NDArray[np.bool_]) -> float:
        seen.append(int(mask.sum()))
        return 100_000.0 - 1000 * mask[:, 2:].sum() + 50_000 * mask[:, :2].sum()

    mask = chosen(blocks, cost)
    assert mask is not None and mask[:, 2].all() and not mask[:, :2].any()
    assert cost(mask) == min(100_000.0 - 1000 * n for n in seen if n <= 4)
