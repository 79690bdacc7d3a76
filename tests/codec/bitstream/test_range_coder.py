"""Symbols through the range coder and back, the escape included, and bytes no writer made."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from codec.bitstream.probability_tables import MASS, MEAN_MAX, GridMixture, Ints, cdf
from codec.bitstream.range_coder import SYMBOL_MAX, SymbolReader, SymbolWriter, transfer_mixture, transfer_table
from codec.errors import BitstreamError


def random_grid(count: int, seed: int) -> GridMixture:
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.integers(0, 65, (count, 2)), 1)
    means = rng.integers(-64, 65, (count, 3)) << rng.integers(0, 6, (count, 1))
    return GridMixture(np.diff(cuts, prepend=0, append=64), means, rng.integers(0, 80, (count, 3)))


def drawn_symbols(grid: GridMixture, seed: int) -> Ints:
    """One symbol from each mixture."""
    rng = np.random.default_rng(seed)
    at = np.arange(len(grid.weights)), (rng.random((len(grid.weights), 1)) * 64 >= grid.weights.cumsum(1)).sum(1)
    draw = rng.normal(grid.means[at] / 64, 2.0 ** (-4.5 + grid.scales[at] / 8))
    symbols: Ints = np.rint(draw).astype(np.int64)
    return symbols


def ideal_bits(grid: GridMixture, symbols: Ints) -> float:
    """Of the symbols' own masses, those under 2^-20 left out."""
    low, high = cdf(grid, np.stack([symbols - 1, symbols]))
    mass = (high - low)[high - low > 4]
    return float(-np.log2(mass / MASS).sum())


def written(grid: GridMixture, symbols: Ints) -> NDArray[np.uint32]:
    writer = SymbolWriter()
    assert np.array_equal(transfer_mixture(writer, grid, symbols), symbols)
    return writer.finish()


@pytest.mark.parametrize("seed", range(4))
def test_symbols_come_back_in_hardly_more_than_their_ideal_bytes(seed: int) -> None:
    grid = random_grid(1500, seed)
    symbols = drawn_symbols(grid, seed)
    words = written(grid, symbols)
    assert words.dtype == np.uint32
    reader = SymbolReader(words)
    assert np.array_equal(transfer_mixture(reader, grid, None), symbols)
    assert reader.exhausted()
    ideal = ideal_bits(grid, symbols) / 8
    assert ideal - 1 <= 4 * len(words) <= 1.002 * ideal + 12


def test_extreme_symbols_come_back_and_cost_little() -> None:
    """Under a mixture that rules them out: 22 bits, and twice the length of the distance."""
    count = 240
    grid = random_grid(count, 9)
    grid.means[::7] = MEAN_MAX
    grid.means[1::7] = -MEAN_MAX
    symbols = np.resize([SYMBOL_MAX, -SYMBOL_MAX, 0, 1, -1, 2**24 + 1, -(2**24) - 1, 1000, -1000], count).astype(
        np.int64
    )
    words = written(grid, symbols)
    assert np.array_equal(transfer_mixture(SymbolReader(words), grid, None), symbols)
    assert 32 * len(words) <= count * (22 + 2 * 31) + 32


@pytest.mark.parametrize("scale", [0, 36, 80, 128])
def test_every_distance_comes_back_for_its_mass(scale: int) -> None:
    distances = np.concatenate([np.arange(-70, 71), 2 ** np.arange(7, 31), -(2 ** np.arange(7, 31)) + 1])
    ones = np.ones((len(distances), 1), dtype=np.int64)
    grid = GridMixture(64 * ones, 7 * 64 * ones, scale * ones)
    words = written(grid, distances + 7)
    assert np.array_equal(transfer_mixture(SymbolReader(words), grid, None), distances + 7)
    low, high = cdf(grid, np.stack([distances + 6, distances + 7]))
    dearest = 22 + 2 * np.log2(1 + np.abs(distances)) + 3
    ideal = np.minimum(-np.log2(np.maximum(high - low, 2.0**-40) / MASS), dearest).sum()
    assert 32 * len(words) <= 1.01 * ideal + 64


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_threads_changes_nothing(threads: int) -> None:
    grid = random_grid(70_000, 5)  # several parts
    symbols, before = drawn_symbols(grid, 5), torch.get_num_threads()
    found = list[NDArray[np.uint32]]()
    try:
        for count in (1, threads):
            torch.set_num_threads(count)
            found.append(written(grid, symbols))
        assert np.array_equal(transfer_mixture(SymbolReader(found[1]), grid, None), symbols)
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*found)


@given(st.lists(st.integers(-(2**31) + 1, 2**31 - 1), max_size=20))
def test_numbers_of_any_size_come_back(values: list[int]) -> None:
    writer = SymbolWriter()
    for value in values:
        assert writer.number(value) == value
    reader = SymbolReader(writer.finish())
    assert [reader.number(None) for _ in values] == values


@pytest.mark.parametrize("value", [0, 1, -1, 2**15 - 1, 2**15, 2**16, -(2**16), 2**31 - 1, -(2**31) + 1])
def test_a_number_costs_its_gamma_code(value: int) -> None:
    writer = SymbolWriter()
    for _ in range(64):
        writer.number(value)
    folded = 2 * value + 1 if value >= 0 else -2 * value
    assert 0 <= 4 * len(writer.finish()) - 8 * (5 + folded.bit_length() - 1) <= 8


def test_a_table_of_rows_comes_back() -> None:
    rng = np.random.default_rng(1)
    table = rng.integers(1, 5000, (300, 12)).astype(np.float32)  # reach 5
    symbols = rng.integers(-9, 10, 300)
    writer = SymbolWriter()
    assert np.array_equal(transfer_table(writer, table, 5, symbols), symbols)
    assert np.array_equal(transfer_table(SymbolReader(writer.finish()), table, 5, None), symbols)


def test_nothing_is_written_for_nothing() -> None:
    none = random_grid(0, 0)
    assert len(written(none, np.zeros(0, dtype=np.int64))) == 0
    assert len(transfer_mixture(SymbolReader(np.zeros(0, dtype=np.uint32)), none, None)) == 0


def test_words_left_over_are_noticed() -> None:
    grid = random_grid(200, 3)
    reader = SymbolReader(np.append(written(grid, drawn_symbols(grid, 3)), np.arange(9, dtype=np.uint32)))
    transfer_mixture(reader, grid, None)
    assert not reader.exhausted()


@pytest.mark.parametrize("count", [0, 1, 2, 40])
@pytest.mark.parametrize("seed", range(12))
def test_words_that_no_writer_made_decode_or_are_refused(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 2**32, count, dtype=np.uint32)
    if seed < 2:
        words[:] = (0, 2**32 - 1)[seed]
    grid = random_grid(300, seed)
    reader = SymbolReader(words)
    try:
        symbols = transfer_mixture(reader, grid, None)
        transfer_table(reader, np.ones((20, 6), dtype=np.float32), 2, None)
        for _ in range(50):
            assert abs(reader.number(None)) <= 2**31
    except BitstreamError as error:
        assert "does not decode" in str(error)
    else:
        assert symbols.shape == (300,)
