"""Entropy parameters on a grid, and integer arithmetic from grid to probabilities.

Floats stop at `on_grid`: weights in 1/64 (summing to 64), means in 1/64 step, scales in eighths of an octave. From
there integers alone make each probability, so machines that agree on the grid indices agree on every bit of the file.
That they agree is the business of `codec.bitstream.rounding`.

    t = (edge - mean) / scale       in 2^-12, rounded, from a table of reciprocals
    Phi(t)                          in 2^-24, linear between entries 1/256 apart
    F(edge) = sum_i w_i Phi(t_i)    in 2^-22, rounded down
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec.bitstream.parallel import in_parts
from codec.networks.likelihoods import LOG2_SCALE_MAX, LOG2_SCALE_MIN, StepMixture

WEIGHT_STEPS = 64
MEAN_STEPS = 64
SCALE_STEPS = 8  # per octave
MEAN_MAX = 1 << 24  # grid steps; +-262144 integers, whatever lies beyond
_F_BITS = 22
MASS = 1 << _F_BITS  # of a whole mixture
_PHI_BITS, _T_BITS, _T_MAX, _CELL_BITS = 24, 12, 8, 8
_RECIPROCAL_BITS = 24

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


def take(grid: GridMixture, at: NDArray[np.intp]) -> GridMixture:
    """Those of the symbols `at` (n,)."""
    return GridMixture(*(g.T.take(at, axis=1).T for g in grid))


def positions(mixture: StepMixture) -> GridPositions:
    """Parameters (..., k, p) in grid steps; symbols are flattened in the order (..., p)."""
    cumulative, means, levels = (_columns(t) for t in mixture)
    for component, before in zip(cumulative[1:], cumulative[:-1], strict=True):
        component += before
    cumulative.mul_(WEIGHT_STEPS).clamp_(max=WEIGHT_STEPS)[-1] = WEIGHT_STEPS
    means.mul_(MEAN_STEPS).clamp_(-MEAN_MAX, MEAN_MAX)
    levels.log2_().clamp_(LOG2_SCALE_MIN, LOG2_SCALE_MAX).sub_(LOG2_SCALE_MIN).mul_(SCALE_STEPS)
    return GridPositions(*(t.cpu().numpy().T for t in (cumulative, means, levels)))


def on_grid(at: GridPositions, shift: float = 0.0) -> GridMixture:
    """Round to the nearest index of a grid that is shifted by -`shift` steps, at most 1/4."""
    grid = GridMixture(*(np.empty_like(p, dtype=np.int64) for p in at))

    def fill(part: slice) -> None:
        for indices, p in zip(grid, at, strict=True):
            moved = p[part] + shift
            indices[part] = np.rint(moved, out=moved)
        grid.weights[part, 1:] -= grid.weights[part, :-1].copy(order="K")

    in_parts(fill, len(at.means))
    return grid


def _columns(parameter: Tensor) -> Tensor:
    """(..., k, p) -> a copy (k, N), each component's N in one piece: what follows runs along them."""
    columns = parameter.movedim(-2, 0)
    return torch.empty(columns.shape, dtype=torch.float64, device=columns.device).copy_(columns).flatten(1)


def first_rows(grid: GridMixture) -> tuple[Ints, NDArray[np.float32]]:
    """The rounded means (N,) of the mixtures, and rows (N, 3): what is below that integer, it alone, what is above."""
    centre = np.empty(len(grid.means), dtype=np.int64)
    table = np.empty((len(centre), 3), dtype=np.float32)

    def fill(part: slice) -> None:
        some = GridMixture(*(g[part] for g in grid))
        middle = _rounded_means(some)
        under, upto = below(some, np.stack([middle - 1, middle]))
        centre[part] = middle
        fill_rows(table[part], under, upto - under, MASS - upto)

    in_parts(fill, len(centre))
    return centre, table


def fill_rows(table: NDArray[np.float32], *masses: Ints) -> None:
    """Frequencies (N, columns) of columns of mass (N,), each at least 1."""
    for column, mass in zip(table.T, masses, strict=True):
        np.add(mass, 1, out=column, casting="unsafe")


def below(grid: GridMixture, integers: Ints) -> Ints:
    """F at integers + 1/2, (E, N) for each of N symbols: the mass of what is no greater."""
    edges = MEAN_STEPS * integers + MEAN_STEPS // 2
    mass = np.zeros_like(edges)
    for weights, means, scales in zip(*(g.T for g in grid), strict=True):
        t = edges - means
        t *= _reciprocals().take(scales)
        t += (_T_MAX << _RECIPROCAL_BITS) + (1 << (_RECIPROCAL_BITS - _T_BITS - 1))
        t //= 1 << (_RECIPROCAL_BITS - _T_BITS)  # sooner done than a shift
        _phi().take(t, out=t, mode="clip")
        t *= weights
        mass += t
    mass >>= _PHI_BITS + 6 - _F_BITS
    return mass


def _rounded_means(grid: GridMixture) -> Ints:
    shift = (WEIGHT_STEPS * MEAN_STEPS).bit_length() - 1
    mean: Ints = np.einsum("nk,nk->n", grid.weights, grid.means)
    mean += 1 << (shift - 1)
    mean >>= shift
    return mean


@cache
def _scales() -> list[float]:
    levels = int((LOG2_SCALE_MAX - LOG2_SCALE_MIN) * SCALE_STEPS) + 1
    return [2.0 ** (LOG2_SCALE_MIN + i / SCALE_STEPS) for i in range(levels)]


@cache
def _reciprocals() -> Ints:
    """2^24 / (scale in grid steps): multiplies an offset in grid steps to t in 2^-24.

    2^(i/8) is irrational or exact, so a double rounds it to the same integer on every machine.
    """
    return np.array([round(2**_RECIPROCAL_BITS / (s * MEAN_STEPS)) for s in _scales()], dtype=np.int64)


@cache
def _phi() -> Ints:
    """Phi at every t in 2^-12, in 2^-24."""
    entries = _normal_table()
    fine = np.arange(1 << _T_BITS - _CELL_BITS)
    inner = entries[:-1, None] + ((np.diff(entries)[:, None] * fine) >> _T_BITS - _CELL_BITS)
    return np.append(inner, entries[-1])


@cache
def _normal_table() -> Ints:
    """Phi at -8, -8 + 1/256, ..., 8, in 2^-24: a Taylor series in integers, the same on every machine.

    Phi(t) = 1/2 + 1/sqrt(2 pi) sum_n (-1)^n t^(2n+1) / (2^n n! (2n+1)), in fixed point of 160 bits.
    """
    bits = 160
    one = 1 << bits
    # 1 / sqrt(2 pi) to 60 digits
    factor = 398942280401432677939946059934381868475858631164934657665926 * one // 10**60
    half = []
    for cell in range((_T_MAX << _CELL_BITS) + 1):
        square = cell * cell << bits - 2 * _CELL_BITS
        term, total, n = cell << bits - _CELL_BITS, 0, 0
        while term:
            total += (term if n % 2 == 0 else -term) // (2 * n + 1)
            n += 1
            term = (term * square >> bits) // (2 * n)
        half.append((total * factor >> bits) + one // 2)
    positive = [(value >> (bits - _PHI_BITS - 1)) + 1 >> 1 for value in half]
    negative = [(1 << _PHI_BITS) - value for value in positive[:0:-1]]
    return np.array([*negative, *positive], dtype=np.int64)
