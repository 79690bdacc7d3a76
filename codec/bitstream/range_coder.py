"""Symbols and probability rows to bytes and back: the only user of the entropy coder's library, constriction.

`SymbolWriter` and `SymbolReader` share one verb, `transfer(grid, symbols)`, so that one schedule (in
`codec.bitstream.symbols`) serves both and cannot differ between them. Any int32 can be coded: under a mixture by
halving an interval, with a given row by an escape and an Elias-gamma number. The reader must only be given bytes whose
checksum was verified.
"""

from typing import Any, Protocol

import constriction
import numpy as np
from numpy.typing import NDArray

from codec.bitstream.parallel import in_parts
from codec.bitstream.probability_tables import MASS, GridMixture, Ints, below, fill_rows, first_rows, take
from codec.errors import BitstreamError

_ROW = constriction.stream.model.Categorical(perfect=False)
_UNIFORM = constriction.stream.model.Uniform
SYMBOL_MAX = 2**30
DISTANCE_MAX = 2**31  # of a symbol from its centre


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
        return self._encoder.get_compressed()


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
    """Code N symbols, each under its own mixture (N, k); `symbols` is None when reading.

    All go once by (below the centre, at it, above it); for those beside it `_Distances` goes on.
    """
    values, table = first_rows(grid)
    if not len(values):
        return values
    side = coder.code(None if symbols is None else _index(np.sign(symbols - values) + 1), table)
    at = np.flatnonzero(side != 1)
    centre, off = values.take(at), side.take(at) - np.int64(1)
    beside = _Distances(take(grid, at), centre, off > 0, table[at, off + 1].astype(np.int64) - 1)
    values[at] += off * beside.transfer(coder, None if symbols is None else np.abs(symbols.take(at) - centre))
    return values


class _Distances:
    """How far N symbols lie from their centres, on a side that is known: halves of an interval until one is left.

    low < distance <= high; `inner` and `outer` are the masses further out than low and high.
    """

    def __init__(self, grid: GridMixture, centre: Ints, above: NDArray[np.bool_], inner: Ints) -> None:
        self.grid, self.centre, self.above, self.inner = grid, centre, above, inner
        self.low, self.outer = np.zeros_like(centre), np.zeros_like(centre)
        self.high = np.full_like(centre, DISTANCE_MAX)

    def transfer(self, coder: RowCoder, known: Ints | None) -> Ints:
        """1, 2, 4, ... as the middle until one is not passed, then the middle itself."""
        at, middle = np.arange(len(self.centre)), 1
        while len(at) and middle < DISTANCE_MAX:
            self._halve(coder, at, np.full(len(at), middle), known)
            at, middle = at[self.low[at] == middle], 2 * middle
        while len(at := np.flatnonzero(self.high - self.low > 1)):
            self._halve(coder, at, (self.low[at] + self.high[at]) // 2, known)
        return self.high

    def _halve(self, coder: RowCoder, at: Ints, middle: Ints, known: Ints | None) -> None:
        mass, table = np.empty_like(middle), np.empty((len(at), 2), dtype=np.float32)

        def fill(part: slice) -> None:
            some = at[part]
            mass[part] = self._beyond(some, middle[part])
            fill_rows(table[part], self.inner.take(some) - mass[part], mass[part] - self.outer.take(some))

        in_parts(fill, len(at))
        further = coder.code(None if known is None else _index(known.take(at) > middle), table) == 1
        for some, bound, masses in ((further, self.low, self.inner), (~further, self.high, self.outer)):
            moved = at[some]
            bound[moved], masses[moved] = middle[some], mass[some]

    def _beyond(self, at: Ints, distance: Ints) -> Ints:
        """Mass (n,) of what is further from the centre than `distance`, on the symbol's side."""
        above, centre = self.above.take(at), self.centre.take(at)
        (mass,) = below(take(self.grid, at), np.where(above, centre + distance, centre - distance - 1)[None])
        return np.where(above, MASS - mass, mass)


def _index(column: NDArray[Any]) -> NDArray[np.int32]:
    return column.astype(np.int32)


def transfer_table(coder: RowCoder, table: NDArray[np.float32], reach: int, symbols: Ints | None) -> Ints:
    """Code N symbols with given rows (N, 2 * reach + 2): those of -reach .. reach, the last column is the escape."""
    escape = 2 * reach + 1
    indices = None
    if symbols is not None:
        offset = symbols + reach
        indices = _index(np.where((offset >= 0) & (offset < escape), offset, escape))
    out = coder.code(indices, table).astype(np.int64)
    values = out - reach
    for at in np.flatnonzero(out == escape):
        values[at] = coder.number(None if symbols is None else int(symbols[at]))
    return values
