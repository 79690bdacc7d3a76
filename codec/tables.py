"""Entropy parameters on a grid, and integer arithmetic from grid to probability rows.

Floats stop at `on_grid`: weights in 1/64 (summing to 64), means in 1/64 step, scales in eighths of an octave. From
there integers alone make each row, so machines that agree on the grid indices agree on every bit of the file. That they
agree is the business of `codec.portable`.

A row holds the frequencies of the integers centre - reach .. centre + reach, then that of the escape, each at least 1,
in sum 2^22 + length, so that float32 holds them exactly (they go to the entropy coder as floats).

    t = (edge - mean) / scale       in 2^-16, from a table of reciprocals
    Phi(t)                          in 2^-24, linear between entries 1/256 apart
    F(edge) = sum_i w_i Phi(t_i)    in 2^-22
    frequency = F(upper) - F(lower) + 1
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from codec.entropy import LOG2_SCALE_MAX, LOG2_SCALE_MIN, StepMixture

WEIGHT_STEPS = 64
MEAN_STEPS = 64
SCALE_STEPS = 8  # per octave
MEAN_MAX = 1 << 24  # grid steps; beyond +-262144 integers the escape pays
REACHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024)  # half-widths of rows
REACH_DEVIATIONS = 4.0  # a row covers this many deviations of each component, or the widest row does
ROW_BITS = 22
_PHI_BITS, _T_BITS, _T_MAX, _CELLS = 24, 16, 8, 256
_RECIPROCAL_BITS = 24
_FAR = 1 << 29  # grid steps beyond which every scale's t is saturated
_NEAR_SCALE = 60  # index of deviation 8: their table has 100,000 entries
_CHUNK = 1 << 16  # table cells worked on at a time, so that temporaries stay in cache

Ints = NDArray[np.int64]


class GridPositions(NamedTuple):
    """Where the parameters of N symbols lie on the axes of the grid, before rounding; each (N, k) float64.

    `weights` are cumulative, the last one exactly WEIGHT_STEPS; `means` and `scales` are clamped to their ranges.
    """

    weights: NDArray[np.float64]
    means: NDArray[np.float64]
    scales: NDArray[np.float64]


class GridMixture(NamedTuple):
    """Grid indices of N symbols, each (N, k)."""

    weights: Ints
    means: Ints
    scales: Ints


class Support(NamedTuple):
    """Which integers a symbol's row covers: centre and reach, each (N,)."""

    centre: Ints
    reach: Ints


def positions(mixture: StepMixture) -> GridPositions:
    """Parameters (..., k, p) in grid steps; symbols are flattened in the order (..., p)."""
    cumulative = (mixture.weights.double().cumsum(-2) * WEIGHT_STEPS).clamp(max=WEIGHT_STEPS)
    cumulative[..., -1, :] = WEIGHT_STEPS
    means = (mixture.means.double() * MEAN_STEPS).clamp(-MEAN_MAX, MEAN_MAX)
    levels = (mixture.scales.double().log2().clamp(LOG2_SCALE_MIN, LOG2_SCALE_MAX) - LOG2_SCALE_MIN) * SCALE_STEPS
    return GridPositions(*(_columns(t) for t in (cumulative, means, levels)))


def on_grid(at: GridPositions, shift: float = 0.0) -> GridMixture:
    """Round to the nearest index of a grid that is shifted by -`shift` steps, at most 1/4."""
    weights, means, scales = (np.rint(p + shift).astype(np.int64) for p in at)
    weights[:, 1:] -= weights[:, :-1].copy()
    return GridMixture(weights, means, scales)


def _columns(parameter: Tensor) -> NDArray[np.float64]:
    """(..., k, p) -> (N, k), each component's N in one piece: what follows runs along them."""
    return parameter.movedim(-2, 0).flatten(1).cpu().numpy().T


def support(grid: GridMixture) -> Support:
    """The centre (rounded mean of the mixture) and the smallest sufficient reach of each symbol's row."""
    shift = (WEIGHT_STEPS * MEAN_STEPS).bit_length() - 1
    centre = ((grid.weights * grid.means).sum(1) + (1 << (shift - 1))) >> shift
    distance = -(-np.abs(grid.means - MEAN_STEPS * centre[:, None]) // MEAN_STEPS)
    needed = np.where(grid.weights > 0, distance + _deviation_reaches()[grid.scales], 0).max(1)
    index = np.searchsorted(REACHES, needed).clip(max=len(REACHES) - 1)
    return Support(centre, np.array(REACHES)[index])


def rows(grid: GridMixture, centre: Ints, reach: int) -> NDArray[np.float32]:
    """Integer frequencies (N, 2 * reach + 2) as float32, the escape last."""
    table = np.empty((len(centre), 2 * reach + 2), dtype=np.float32)
    chunk = max(1, _CHUNK // (grid.weights.shape[1] * table.shape[1]))
    for start in range(0, len(table), chunk):
        part = slice(start, start + chunk)
        _fill_rows(table[part], GridMixture(*(g[part] for g in grid)), centre[part], reach)
    return table


def _fill_rows(table: NDArray[np.float32], grid: GridMixture, centre: Ints, reach: int) -> None:
    """The formula of the module's docstring, in int32: every sum below stays under 2^31.

    Arrays are (E, N), so that each operation runs along many symbols.
    """
    edges = (MEAN_STEPS * np.arange(-reach, reach + 2) - MEAN_STEPS // 2).astype(np.int32)[:, None]
    mixed = np.zeros((len(edges), len(centre)), dtype=np.int32)
    for weights, means, scales in zip(*(g.T for g in grid), strict=True):
        offset = (MEAN_STEPS * centre - means).clip(-_FAR, _FAR).astype(np.int32)
        limit = _offset_limits().take(scales)  # in grid steps, where t saturates
        near = scales.max(initial=0) <= _NEAR_SCALE
        zero = _near_table()[1].take(scales) if near else 0
        t = edges + (offset + zero)
        np.minimum(np.maximum(t, zero - limit, out=t), zero + limit, out=t)
        phi = _near_table()[0].take(t, out=t, mode="clip") if near else _phi(t, scales)
        phi *= weights.astype(np.int32)
        mixed += phi
    mixed >>= _PHI_BITS + 6 - ROW_BITS
    frequencies = table.T
    np.subtract(mixed[1:], mixed[:-1], out=frequencies[:-1], casting="unsafe")
    frequencies[-1] = (1 << ROW_BITS) - (mixed[-1] - mixed[0])
    table += 1


def _phi(t: NDArray[np.int32], scales: Ints) -> NDArray[np.int32]:
    """Phi in 2^-24 at t (E, N) in grid steps, which is overwritten; every product stays under 2^31."""
    t *= _reciprocals().take(scales)  # 2^-24
    t >>= _RECIPROCAL_BITS - _T_BITS
    t += _T_MAX << _T_BITS
    rest = t & ((1 << _T_BITS) // _CELLS - 1)
    t >>= _T_BITS - _CELLS.bit_length() + 1
    rest *= _normal_steps().take(t)
    rest >>= _T_BITS - _CELLS.bit_length() + 1
    rest += _normal_table().take(t)
    return rest


@cache
def _near_table() -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """`_phi` at every t of each small scale, in a row, and where its t = 0 lies; it stays in a core's cache."""
    parts, zero, length = [], [], 0
    for scale, limit in enumerate(_offset_limits()[: _NEAR_SCALE + 1].tolist()):
        parts.append(_phi(np.arange(-limit, limit + 1, dtype=np.int32), np.array([scale])))
        zero.append(length + limit)
        length += 2 * limit + 1
    return np.concatenate(parts), np.array(zero, dtype=np.int32)


@cache
def _scales() -> list[float]:
    levels = int((LOG2_SCALE_MAX - LOG2_SCALE_MIN) * SCALE_STEPS) + 1
    return [2.0 ** (LOG2_SCALE_MIN + i / SCALE_STEPS) for i in range(levels)]


@cache
def _reciprocals() -> NDArray[np.int32]:
    """2^24 / (scale in grid steps): multiplies an offset in grid steps to t in 2^-24.

    2^(i/8) is irrational or exact, so a double rounds it to the same integer on every machine.
    """
    return np.array([round(2**_RECIPROCAL_BITS / (s * MEAN_STEPS)) for s in _scales()], dtype=np.int32)


@cache
def _offset_limits() -> NDArray[np.int32]:
    """Largest offsets, in grid steps, with |t| < 8."""
    return (((_T_MAX << _RECIPROCAL_BITS) - 1) // _reciprocals().astype(np.int64)).astype(np.int32)


@cache
def _deviation_reaches() -> Ints:
    return np.array([-int(-REACH_DEVIATIONS * s // 1) for s in _scales()], dtype=np.int64)


@cache
def _normal_table() -> NDArray[np.int32]:
    """Phi at -8, -8 + 1/256, ..., 8, in 2^-24: a Taylor series in integers, the same on every machine.

    Phi(t) = 1/2 + 1/sqrt(2 pi) sum_n (-1)^n t^(2n+1) / (2^n n! (2n+1)), in fixed point of 160 bits.
    """
    bits = 160
    one = 1 << bits
    # 1 / sqrt(2 pi) to 60 digits
    factor = 398942280401432677939946059934381868475858631164934657665926 * one // 10**60
    half = []
    for cell in range(_T_MAX * _CELLS + 1):
        square = (cell * cell << bits) // _CELLS**2
        term, total, n = (cell << bits) // _CELLS, 0, 0
        while term:
            total += (term if n % 2 == 0 else -term) // (2 * n + 1)
            n += 1
            term = (term * square >> bits) // (2 * n)
        half.append((total * factor >> bits) + one // 2)
    positive = [(value >> (bits - _PHI_BITS - 1)) + 1 >> 1 for value in half]
    negative = [(1 << _PHI_BITS) - value for value in positive[:0:-1]]
    return np.array([*negative, *positive], dtype=np.int32)


@cache
def _normal_steps() -> NDArray[np.int32]:
    """Rise of Phi over each cell of the table."""
    return np.diff(_normal_table())
