"""Portable rounding: every machine rounds the entropy parameters to the same indices of the grid.

Two machines compute the same network with different last digits (drift). One parameter that falls on the other side of
a rounding boundary changes a probability table, and all that follows decodes to noise. Two measures prevent it:

- The networks that feed the entropy coder run in double precision (`in_double`).
- Each block of symbols is rounded on a grid shifted by a small multiple of `SHIFT_STEP`. The writer chooses the first
  shift that keeps every parameter of the block at least `margin` away from the nearest boundary, and codes its index
  ahead of the block (`transfer_shift`), which costs a fraction of a bit.

The invariant: a reader whose parameters differ from the writer's by less than `margin` rounds all of them to the
writer's indices. The exception is a block in which every shift leaves some parameter within its margin; the shift that
leaves the largest part of the margin is taken there.
"""

from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import nn

from codec.bitstream.parallel import parallel_for
from codec.bitstream.probability_tables import GridPositions
from codec.bitstream.range_coder import RowCoder
from codec.weight_cache import cached_by_weights

if TYPE_CHECKING:
    from codec.model import Codec

SHIFT_STEP = 2.0**-16  # grid steps: far more than a margin, and all shifts together far less than a rounding error
SHIFTS = 32  # number of shifts to choose from
SHIFT_BLOCK = 1 << 16  # symbols that share a shift
MARGIN = 2.0**-24  # grid steps, for parameters near zero; over 1000 times the drift measured between settings


@cached_by_weights
def in_double(codec: "Codec") -> "Codec":
    """Copy the entropy networks of a codec in double precision, with the values of their weights unchanged.

    `g_a`, `g_s` and `h_a` are left out. The copy is cached until the codec's weights change: do not modify it.
    """
    left_out = {id(part): nn.Identity() for part in (codec.g_a, codec.g_s, codec.h_a)}
    return deepcopy(codec, left_out).double()


def margin(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the drift that rounding must tolerate, in grid steps, of parameters at these positions of the same unit.

    It grows with the position: rounding errors of floating point are relative.
    """
    return MARGIN * (1 + np.abs(positions) / 64)


def safe_shift(positions: GridPositions) -> int:
    """Return the index, 0..SHIFTS - 1, of the first shift that keeps every position `margin` away from a boundary.

    Where no shift does, return the one whose least distance, as a fraction of the margin, is largest.
    """
    found = list[tuple[NDArray[np.float64], NDArray[np.float64]]]()  # appended to by several threads, in any order
    widest = max((float(margin(np.array([p.max(), p.min()])).max()) for p in positions if p.size), default=0.0)
    window = SHIFTS * SHIFT_STEP + widest
    parallel_for(
        lambda chunk: found.extend(_near_boundaries(p[chunk].T, window) for p in positions), len(positions.means)
    )
    above, needed = (np.concatenate([pair[i] for pair in found] or [np.zeros(0)]) for i in (0, 1))
    distance_ratio = [float(np.min(np.abs(above + i * SHIFT_STEP) / needed, initial=np.inf)) for i in range(SHIFTS)]
    return next((i for i, ratio in enumerate(distance_ratio) if ratio > 1), int(np.argmax(distance_ratio)))


def _near_boundaries(values: NDArray[np.float64], window: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return signed distances (n,) from the boundary, and margins (n,), of the values within `window` of one."""
    offset = np.rint(values)
    np.subtract(values, offset, out=offset)  # from the nearest integer; boundaries lie at +-1/2
    near = np.flatnonzero(np.abs(offset) >= 0.5 - window)
    offset = offset.take(near)
    return offset - np.copysign(0.5, offset), margin(values.take(near))


def transfer_shift(coder: RowCoder, index: int | None) -> int:
    """Encode or decode the index of a shift, 0..SHIFTS - 1, and return it; None when decoding."""
    indices = None if index is None else np.array([index], dtype=np.int32)
    return int(coder.code(indices, _shift_row())[0])


@cache
def _shift_row() -> NDArray[np.float32]:
    """Return frequencies (1, SHIFTS) of the shifts: 4^(11 - i), at least 1, as the first shift nearly always works."""
    return np.array([[4.0 ** max(11 - i, 0) for i in range(SHIFTS)]], dtype=np.float32)
