"""Range coder: integer symbols and their probabilities to 32-bit words and back, by the library constriction.

A row holds the frequencies (unnormalised probabilities) of one decision, and what is coded is the index of one of its
columns. `transfer_mixture` and `transfer_table` turn symbols into such decisions. Each is one function for both
directions, so that writer and reader cannot differ: given a `SymbolWriter` it encodes, given a `SymbolReader` it
decodes; both have the interface `RowCoder`. Any int32 can be coded: under a mixture by halving an interval of
distances, with a given row by an escape and an Elias-gamma number. The invariant: a reader is only given words whose
checksum was verified.

Source of the library: Bamler, "Understanding entropy coding with asymmetric numeral systems", arXiv:2201.01741.
"""

from typing import Any, Protocol

import constriction
import numpy as np
from numpy.typing import NDArray

from codec.bitstream.parallel import parallel_for
from codec.bitstream.probability_tables import MASS, GridMixture, Ints, cdf, fill_frequencies, select, sign_tables
from codec.errors import BitstreamError

_ROW = constriction.stream.model.Categorical(perfect=False)
_UNIFORM = constriction.stream.model.Uniform
SYMBOL_MAX = 2**30  # largest magnitude of a symbol that files hold
DISTANCE_MAX = 2**31  # largest distance of a symbol from its rounded mean


class RowCoder(Protocol):
    """Interface of writer and reader: a writer encodes and returns its argument, a reader takes None and decodes."""

    def code(self, indices: NDArray[np.int32] | None, table: NDArray[np.float32]) -> NDArray[np.int32]:
        """Code and return one column index (N,) for each row of `table` (N, columns), frequencies of at least 1."""

    def number(self, value: int | None) -> int:
        """Code and return one integer between -2^31 and 2^31, both excluded."""


class SymbolWriter:
    """Range encoder; `finish` returns the words."""

    def __init__(self) -> None:
        self._encoder = constriction.stream.queue.RangeEncoder()

    def code(self, indices: NDArray[np.int32] | None, table: NDArray[np.float32]) -> NDArray[np.int32]:
        """Encode one column index (N,) for each row of frequencies (N, columns); return the indices."""
        assert indices is not None
        self._encoder.encode(indices, _ROW, table)
        return indices

    def number(self, value: int | None) -> int:
        """Encode a signed integer between -2^31 and 2^31, both excluded, as an Elias-gamma code of uniform bits."""
        assert value is not None
        folded = (2 * value if value >= 0 else -2 * value - 1) + 1  # 1, 2, 3, ... for 0, -1, 1, ...
        length = folded.bit_length() - 1
        self._encoder.encode(length, _UNIFORM(32))
        for shift in range(0, length, 16):
            self._encoder.encode(folded >> shift & (1 << min(16, length - shift)) - 1, _bits(length - shift))
        return value

    def finish(self) -> NDArray[np.uint32]:
        """Return the compressed words, (words,) uint32."""
        return self._encoder.get_compressed()


class SymbolReader:
    """Range decoder of the words that a `SymbolWriter` returned.

    Raises:
        BitstreamError: from `code` and `number`, where the words are none that a writer could have written.
    """

    def __init__(self, words: NDArray[np.uint32]) -> None:
        self._decoder = constriction.stream.queue.RangeDecoder(words)

    def code(self, indices: NDArray[np.int32] | None, table: NDArray[np.float32]) -> NDArray[np.int32]:
        """Decode one column index (N,) for each row of frequencies (N, columns); `indices` is ignored."""
        try:
            decoded: NDArray[np.int32] = self._decoder.decode(_ROW, table)
        except (AssertionError, ValueError) as error:
            raise BitstreamError(f"compressed data does not decode: {error}") from error
        return decoded

    def number(self, value: int | None) -> int:
        """Decode a signed integer between -2^31 and 2^31, both excluded; `value` is ignored."""
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
        """Tell whether all words may have been used; False means that data was left over."""
        return bool(self._decoder.maybe_exhausted())


def _bits(count: int) -> object:
    """Return a uniform model over the next `count` bits, at most 16 at a time."""
    return _UNIFORM(1 << min(16, count))


def transfer_mixture(coder: RowCoder, grid: GridMixture, symbols: Ints | None) -> Ints:
    """Encode or decode N symbols, each under its own mixture, and return them; `symbols` (N,) is None when decoding.

    First comes, for every symbol, whether it lies below, at or above its rounded mean; then, for those not at it, their
    distance.
    """
    values, table = sign_tables(grid)
    if not len(values):
        return values
    side = coder.code(None if symbols is None else _indices(np.sign(symbols - values) + 1), table)
    at = np.flatnonzero(side != 1)
    centre, sign = values.take(at), side.take(at) - np.int64(1)
    outside = table[at, sign + 1].astype(np.int64) - 1
    intervals = _DistanceIntervals(select(grid, at), centre, above=sign > 0, outside=outside)
    values[at] += sign * intervals.transfer(coder, None if symbols is None else np.abs(symbols.take(at) - centre))
    return values


class _DistanceIntervals:
    """Intervals low < distance <= high, of the distances of N symbols from their centres on a known side.

    A coded decision splits an interval in two, until one distance is left in it.

    Attributes:
        grid: mixtures of the symbols.
        centre: (N,), rounded means.
        above: (N,), whether the symbol lies above its centre.
        low, high: (N,), bounds of the intervals.
        beyond_low, beyond_high: (N,), masses of all symbols further out than low and high; their difference is the mass
            of the interval.
    """

    def __init__(self, grid: GridMixture, centre: Ints, *, above: NDArray[np.bool_], outside: Ints) -> None:
        """Begin with all distances from 1 on, whose mass is `outside` (N,)."""
        self.grid, self.centre, self.above = grid, centre, above
        self.low, self.high = np.zeros_like(centre), np.full_like(centre, DISTANCE_MAX)
        self.beyond_low, self.beyond_high = outside, np.zeros_like(centre)

    def transfer(self, coder: RowCoder, distances: Ints | None) -> Ints:
        """Encode or decode the distances (N,) and return them; None when decoding.

        The first decisions split at 1, 2, 4, ... until a distance is not beyond the split; the rest halve the interval.
        """
        at, middle = np.arange(len(self.centre)), 1
        while len(at) and middle < DISTANCE_MAX:
            self._split(coder, at, np.full(len(at), middle), distances)
            at, middle = at[self.low[at] == middle], 2 * middle
        while len(at := np.flatnonzero(self.high - self.low > 1)):
            self._split(coder, at, (self.low[at] + self.high[at]) // 2, distances)
        return self.high

    def _split(self, coder: RowCoder, at: Ints, middle: Ints, distances: Ints | None) -> None:
        """Code whether symbols `at` (n,) lie beyond the distances `middle` (n,), and narrow their intervals."""
        mass, table = np.empty_like(middle), np.empty((len(at), 2), dtype=np.float32)

        def fill(chunk: slice) -> None:
            some = at[chunk]
            mass[chunk] = self._mass_beyond(some, middle[chunk])
            near, far = self.beyond_low.take(some) - mass[chunk], mass[chunk] - self.beyond_high.take(some)
            fill_frequencies(table[chunk], near, far)

        parallel_for(fill, len(at))
        beyond = coder.code(None if distances is None else _indices(distances.take(at) > middle), table) == 1
        for chosen, bound, masses in (
            (beyond, self.low, self.beyond_low),
            (~beyond, self.high, self.beyond_high),
        ):
            moved = at[chosen]
            bound[moved], masses[moved] = middle[chosen], mass[chosen]

    def _mass_beyond(self, at: Ints, distance: Ints) -> Ints:
        """Return the mass (n,) further from the centre than `distance` (n,), on the known side of each symbol."""
        above, centre = self.above.take(at), self.centre.take(at)
        (mass,) = cdf(select(self.grid, at), np.where(above, centre + distance, centre - distance - 1)[None])
        return np.where(above, MASS - mass, mass)


def _indices(columns: NDArray[Any]) -> NDArray[np.int32]:
    """Convert column indices to int32, which the library takes."""
    return columns.astype(np.int32)


def transfer_table(coder: RowCoder, table: NDArray[np.float32], reach: int, symbols: Ints | None) -> Ints:
    """Encode or decode N symbols with given rows and return them; `symbols` (N,) is None when decoding.

    Args:
        coder: writer or reader.
        table: frequencies (N, 2 * reach + 2) of the symbols -reach..reach, and of the escape in the last column.
        reach: largest magnitude with a column of its own; larger symbols are escaped, their numbers coded at the end.
        symbols: integers (N,).
    """
    escape = 2 * reach + 1
    indices = None
    if symbols is not None:
        offset = symbols + reach
        indices = _indices(np.where((offset >= 0) & (offset < escape), offset, escape))
    out = coder.code(indices, table).astype(np.int64)
    values = out - reach
    for at in np.flatnonzero(out == escape):
        values[at] = coder.number(None if symbols is None else int(symbols[at]))
    return values
