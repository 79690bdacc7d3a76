"""Symbols and probability rows to bytes and back: the only user of the entropy coder's library, constriction.

`SymbolWriter` and `SymbolReader` share one verb, `transfer(grid, symbols)`, so that one schedule (in `codec.coding`)
serves both and cannot differ between them. Any int32 can be coded: what a row does not cover follows its escape as an
Elias-gamma number. The reader must only be given bytes whose checksum was verified.
"""

from typing import Protocol

import constriction
import numpy as np
from numpy.typing import NDArray

from codec.errors import BitstreamError
from codec.tables import REACHES, GridMixture, Ints, rows, support

_ROW = constriction.stream.model.Categorical(perfect=False)
_UNIFORM = constriction.stream.model.Uniform
SYMBOL_MAX = 2**30


class RowCoder(Protocol):
    """Moves symbols through an entropy coder: a writer returns what it was given, a reader what it decoded."""

    def code(self, indices: NDArray[np.int32] | None, table: NDArray[np.float32]) -> NDArray[np.int32]:
        """Column indices (N,) of rows (N, bins)."""

    def number(self, value: int | None) -> int:
        """One integer between -2^31 and 2^31, both excluded."""


class SymbolWriter:
    """Encodes; `finish` returns the words."""

    def __init__(self) -> None:
        self._encoder = constriction.stream.queue.RangeEncoder()

    def code(self, indices: NDArray[np.int32] | None, table: NDArray[np.float32]) -> NDArray[np.int32]:
        """Encode column `indices` (N,) of rows (N, bins)."""
        assert indices is not None
        self._encoder.encode(indices, _ROW, table)
        return indices

    def number(self, value: int | None) -> int:
        """Encode a signed integer, Elias-gamma with a uniform model."""
        assert value is not None
        folded = (2 * value if value >= 0 else -2 * value - 1) + 1  # 1, 2, 3, ... for 0, -1, 1, ...
        length = folded.bit_length() - 1
        self._encoder.encode(length, _UNIFORM(32))
        for shift in range(0, length, 16):
            self._encoder.encode(folded >> shift & (1 << min(16, length - shift)) - 1, _bits(length - shift))
        return value

    def finish(self) -> NDArray[np.uint32]:
        """The compressed words."""
        words: NDArray[np.uint32] = self._encoder.get_compressed()
        return words


class SymbolReader:
    """Decodes words that a `SymbolWriter` made.

    Raises:
        BitstreamError: the words decode to nothing a writer could have written.
    """

    def __init__(self, words: NDArray[np.uint32]) -> None:
        self._decoder = constriction.stream.queue.RangeDecoder(words)

    def code(self, indices: NDArray[np.int32] | None, table: NDArray[np.float32]) -> NDArray[np.int32]:
        """Decode one column index for each row (N, bins)."""
        try:
            decoded: NDArray[np.int32] = self._decoder.decode(_ROW, table)
        except (AssertionError, ValueError) as error:
            raise BitstreamError(f"compressed data does not decode: {error}") from error
        return decoded

    def number(self, value: int | None) -> int:
        """Decode a signed integer."""
        try:
            length = int(self._decoder.decode(_UNIFORM(32)))
            folded = 1 << length
            for shift in range(0, length, 16):
                folded |= int(self._decoder.decode(_bits(length - shift))) << shift
        except (AssertionError, ValueError) as error:
            raise BitstreamError(f"compressed data does not decode: {error}") from error
        folded -= 1
        return folded // 2 if folded % 2 == 0 else -(folded + 1) // 2

    def exhausted(self) -> bool:
        """Whether all words may have been used; False means data was left over."""
        return bool(self._decoder.maybe_exhausted())


def _bits(count: int) -> object:
    """A uniform model over `count` bits, at most 16."""
    return _UNIFORM(1 << min(16, count))


def transfer_mixture(coder: RowCoder, grid: GridMixture, symbols: Ints | None) -> Ints:
    """Code N symbols, each with the row of its own mixture (N, k); `symbols` is None when reading."""
    window = support(grid)
    out = np.empty(len(window.centre), dtype=np.int64)
    for reach in REACHES:
        chosen = np.flatnonzero(window.reach == reach)
        if not len(chosen):
            continue
        centre = window.centre[chosen]
        table = rows(GridMixture(*(g.T.take(chosen, axis=1).T for g in grid)), centre, reach)
        out[chosen] = _transfer(coder, table, centre, reach, None if symbols is None else symbols[chosen])
    return out


def transfer_table(coder: RowCoder, table: NDArray[np.float32], reach: int, symbols: Ints | None) -> Ints:
    """Code N symbols around zero with given rows (N, 2 * reach + 2)."""
    return _transfer(coder, table, np.zeros(len(table), dtype=np.int64), reach, symbols)


def _transfer(coder: RowCoder, table: NDArray[np.float32], centre: Ints, reach: int, symbols: Ints | None) -> Ints:
    """Rows cover centre - reach .. centre + reach; the last column is the escape."""
    escape = 2 * reach + 1
    indices = None
    if symbols is not None:
        offset = symbols - centre + reach
        indices = np.where((offset >= 0) & (offset < escape), offset, escape).astype(np.int32)
    out = coder.code(indices, table).astype(np.int64)
    values = centre + out - reach
    for at in np.flatnonzero(out == escape):
        distance = None if symbols is None else int(symbols[at] - centre[at])
        values[at] = centre[at] + coder.number(distance)
    return values
