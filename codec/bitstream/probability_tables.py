"""Probability tables of y: entropy parameters rounded to a grid, and integer arithmetic from grid to probability.

The entropy parameters of a symbol are the weights, means and scales of a mixture of Gaussians. `on_grid` rounds them
to a grid: weights in 1/64 (summing to 64), means in 1/64 of a quantisation step, scales in eighths of an octave. From
there each probability is computed in integers, so machines that agree on the grid indices agree on every bit of the
file; `codec.bitstream.rounding` makes them agree.

    t = (edge - mean) / scale       in 2^-12, rounded, from a table of reciprocals
    Phi(t)                          in 2^-24, linear between entries 1/256 apart
    F(edge) = sum_i w_i Phi(t_i)    in 2^-22, rounded down

`edge` is the upper boundary n + 1/2 of an integer n. A `mass` is a probability in units of 2^-22. Grid steps are the
units of each parameter's own grid. N counts symbols and k components of the mixture throughout.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec.bitstream.parallel import parallel_for
from codec.networks.likelihoods import LOG2_SCALE_MAX, LOG2_SCALE_MIN, StepMixture

_WEIGHT_BITS = 6
WEIGHT_STEPS = 1 << _WEIGHT_BITS  # grid steps from weight 0 to 1
MEAN_STEPS = 64  # grid steps in one quantisation step
SCALE_STEPS = 8  # grid steps in one octave
MEAN_MAX = 1 << 24  # grid steps, 262144 integers: means beyond +-MEAN_MAX are clamped
_F_BITS = 22  # of the fraction of F
MASS = 1 << _F_BITS  # total mass of a mixture
_PHI_BITS, _T_BITS, _CELL_BITS = 24, 12, 8  # of the fractions of Phi, of t, and of t at the entries of Phi's table
_T_MAX = 8  # Phi is 0 below -_T_MAX and 1 above it
_RECIPROCAL_BITS = 24

Ints = NDArray[np.int64]


class GridPositions(NamedTuple):
    """Entropy parameters of N symbols in grid steps, before rounding; each (N, k) float64.

    Attributes:
        weights: cumulative sums over k, the last one exactly `WEIGHT_STEPS`.
        means: clamped to +-`MEAN_MAX`.
        scales: on a logarithmic axis, 0 at the smallest scale.
    """

    weights: NDArray[np.float64]
    means: NDArray[np.float64]
    scales: NDArray[np.float64]


class GridMixture(NamedTuple):
    """Grid indices of N symbols, each (N, k) int64.

    Attributes:
        weights: of each component, not cumulative, summing to `WEIGHT_STEPS`.
        means: in 1/`MEAN_STEPS` of an integer.
        scales: index of the scale, `SCALE_STEPS` an octave.
    """

    weights: Ints
    means: Ints
    scales: Ints


def select(grid: GridMixture, at: NDArray[np.intp]) -> GridMixture:
    """Select the grid indices of the symbols at indices `at` (n,)."""
    return GridMixture(*(g.T.take(at, axis=1).T for g in grid))


def positions(mixture: StepMixture) -> GridPositions:
    """Convert entropy parameters, each (..., k, p), to grid steps; symbols are flattened in the order (..., p)."""
    cumulative, means, levels = (_columns(t) for t in mixture)
    for component, before in zip(cumulative[1:], cumulative[:-1], strict=True):
        component += before
    cumulative.mul_(WEIGHT_STEPS).clamp_(max=WEIGHT_STEPS)[-1] = WEIGHT_STEPS
    means.mul_(MEAN_STEPS).clamp_(-MEAN_MAX, MEAN_MAX)
    levels.log2_().clamp_(LOG2_SCALE_MIN, LOG2_SCALE_MAX).sub_(LOG2_SCALE_MIN).mul_(SCALE_STEPS)
    return GridPositions(*(t.cpu().numpy().T for t in (cumulative, means, levels)))


def on_grid(at: GridPositions, shift: float = 0.0) -> GridMixture:
    """Round positions to the nearest index of a grid shifted by -`shift` steps, where |shift| is at most 1/4."""
    grid = GridMixture(*(np.empty_like(p, dtype=np.int64) for p in at))

    def fill(chunk: slice) -> None:
        for indices, p in zip(grid, at, strict=True):
            moved = p[chunk] + shift
            indices[chunk] = np.rint(moved, out=moved)
        grid.weights[chunk, 1:] -= grid.weights[chunk, :-1].copy(order="K")

    parallel_for(fill, len(at.means))
    return grid


def _columns(parameter: Tensor) -> Tensor:
    """Copy a parameter (..., k, p) to (k, N) float64, with each component contiguous for the elementwise work."""
    columns = parameter.movedim(-2, 0)
    return torch.empty(columns.shape, dtype=torch.float64, device=columns.device).copy_(columns).flatten(1)


def sign_tables(grid: GridMixture) -> tuple[Ints, NDArray[np.float32]]:
    """Return each mixture's rounded mean (N,), and frequencies (N, 3) of a symbol below it, at it and above it."""
    centre = np.empty(len(grid.means), dtype=np.int64)
    table = np.empty((len(centre), 3), dtype=np.float32)

    def fill(chunk: slice) -> None:
        mixtures = GridMixture(*(g[chunk] for g in grid))
        middle = _rounded_means(mixtures)
        under, up_to = cdf(mixtures, np.stack([middle - 1, middle]))
        centre[chunk] = middle
        fill_frequencies(table[chunk], under, up_to - under, MASS - up_to)

    parallel_for(fill, len(centre))
    return centre, table


def fill_frequencies(table: NDArray[np.float32], *masses: Ints) -> None:
    """Fill `table` (N, columns) with frequencies: the mass (N,) of each column plus 1, so that none is zero."""
    for column, mass in zip(table.T, masses, strict=True):
        np.add(mass, 1, out=column, casting="unsafe")


def cdf(grid: GridMixture, integers: Ints) -> Ints:
    """Return F at integers + 1/2, the mass of all symbols up to each integer (E, N), under N mixtures."""
    edges = MEAN_STEPS * integers + MEAN_STEPS // 2
    mass = np.zeros_like(edges)
    for weights, means, scales in zip(*(g.T for g in grid), strict=True):
        t = edges - means
        t *= _reciprocals().take(scales)
        t += (_T_MAX << _RECIPROCAL_BITS) + (1 << (_RECIPROCAL_BITS - _T_BITS - 1))
        t //= 1 << (_RECIPROCAL_BITS - _T_BITS)  # NumPy divides by a power of two faster than it shifts
        _phi().take(t, out=t, mode="clip")
        t *= weights
        mass += t
    mass >>= _PHI_BITS + _WEIGHT_BITS - _F_BITS
    return mass


def _rounded_means(grid: GridMixture) -> Ints:
    """Return the mean (N,) of each whole mixture, rounded to an integer."""
    shift = (WEIGHT_STEPS * MEAN_STEPS).bit_length() - 1
    mean: Ints = np.einsum("nk,nk->n", grid.weights, grid.means)
    mean += 1 << (shift - 1)
    mean >>= shift
    return mean


@cache
def _scales() -> list[float]:
    """Return every scale of the grid, in quantisation steps."""
    levels = int((LOG2_SCALE_MAX - LOG2_SCALE_MIN) * SCALE_STEPS) + 1
    return [2.0 ** (LOG2_SCALE_MIN + i / SCALE_STEPS) for i in range(levels)]


@cache
def _reciprocals() -> Ints:
    """Return 2^24 / (scale in grid steps) for each scale: an offset in grid steps times it is t in 2^-24.

    2^(i/8) is irrational or exact, so a double rounds it to the same integer on every machine.
    """
    return np.array([round(2**_RECIPROCAL_BITS / (s * MEAN_STEPS)) for s in _scales()], dtype=np.int64)


@cache
def _phi() -> Ints:
    """Return Phi in 2^-24 at every t from -8 to 8 in steps of 2^-12, linear between the entries of the table."""
    entries = _normal_table()
    fine = np.arange(1 << _T_BITS - _CELL_BITS)
    inner = entries[:-1, None] + ((np.diff(entries)[:, None] * fine) >> _T_BITS - _CELL_BITS)
    return np.append(inner, entries[-1])


@cache
def _normal_table() -> Ints:
    """Return Phi in 2^-24 at -8, -8 + 1/256, ..., 8: a Taylor series in integers, alike on every machine.

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
