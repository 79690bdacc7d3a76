"""Entropy parameters that every machine rounds alike: in double precision, and off the rounding boundaries.

Two machines compute the same network with other last digits. One parameter that falls on the other side of a rounding
boundary changes a probability row, and all that follows in the stream is noise. Hence two measures:

- The networks that feed the entropy coder run in double precision (`in_double`).
- Each block of symbols is rounded on a grid shifted a little, by a whole number of `SHIFT_STEP`. The writer chooses the
  first shift that keeps every parameter of the block `margin` away from the nearest boundary, and sends its index ahead
  of the block (`transfer_shift`), which costs a fraction of a bit.

The invariant: a reader whose positions differ from the writer's by less than `margin` rounds every one alike. No shift
works only if over thirty parameters of a block lie just so; then the widest margin is taken.
"""

from copy import deepcopy
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import nn

from codec.bitstream.parallel import in_parts
from codec.bitstream.probability_tables import GridPositions
from codec.bitstream.range_coder import RowCoder
from codec.weight_cache import while_untouched

if TYPE_CHECKING:
    from codec.model import Codec

SHIFT_STEP = 2.0**-16  # grid steps: far more than a margin, and all shifts together far less than a rounding error
SHIFTS = 32
SHIFT_BLOCK = 1 << 16  # symbols that share a shift
MARGIN = 2.0**-24  # grid steps, for parameters near zero; over 1000 times the drift measured between settings


@while_untouched
def in_double(codec: "Codec") -> "Codec":
    """A copy that computes in double precision, without what makes pixels; the weights keep their values.

    It is shared between calls: not to be changed.
    """
    left_out = {id(part): nn.Identity() for part in (codec.g_a, codec.g_s, codec.h_a)}
    return deepcopy(codec, left_out).double()


def margin(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Drift in grid steps that positions of this size must bear."""
    return MARGIN * (1 + np.abs(positions) / 64)


def safe_shift(positions: GridPositions) -> int:
    """Index of the first shift with every position outside its margin, or of the shift that comes closest to that."""
    found = list[tuple[NDArray[np.float64], NDArray[np.float64]]]()
    widest = max((float(margin(np.array([p.max(), p.min()])).max()) for p in positions if p.size), default=0.0)
    window = SHIFTS * SHIFT_STEP + widest
    in_parts(lambda part: found.extend(_near_boundaries(p[part].T, window) for p in positions), len(positions.means))
    above, needed = (np.concatenate([part[i] for part in found] or [np.zeros(0)]) for i in (0, 1))
    slack = [float(np.min(np.abs(above + i * SHIFT_STEP) / needed, initial=np.inf)) for i in range(SHIFTS)]
    return next((i for i, room in enumerate(slack) if room > 1), int(np.argmax(slack)))


def _near_boundaries(values: NDArray[np.float64], window: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of the values within `window` of a boundary: how far above it they lie, and their margins."""
    above = np.rint(values)
    np.subtract(values, above, out=above)  # the nearest integer
    near = np.flatnonzero(np.abs(above) >= 0.5 - window)
    above = above.take(near)
    return above - np.copysign(0.5, above), margin(values.take(near))


def transfer_shift(coder: RowCoder, index: int | None) -> int:
    """Code the index of a shift; None when reading."""
    indices = None if index is None else np.array([index], dtype=np.int32)
    return int(coder.code(indices, _shift_row())[0])


@cache
def _shift_row() -> NDArray[np.float32]:
    """Frequencies (1, SHIFTS): 4^(11 - i), at least 1."""
    return np.array([[4.0 ** max(11 - i, 0) for i in range(SHIFTS)]], dtype=np.float32)
