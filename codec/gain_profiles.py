"""Gain profiles: quantisation steps for the eye, as offsets of a model's log gains over its channels.

    log gain(quality, r) + strength * (PEAK exp(-r / PEAK_RANKS) - TAIL (1 - exp(-r / TAIL_RANKS)))

r is the rank of a channel by its gain, which is its deviation over its quantisation step: the first are the mean of a
block and its lowest frequencies. Steps that minimise the mse are too coarse there for the eye, which sees blotches on
smooth areas, and too fine for the least energetic channels. The networks see latents in units of deviation, so that
weights trained with the steps of the mse code any profile. Profile p of 0..6 has the strength p / 4; 0 is the model's
own steps. Profile 7 has the model's own steps too, and the linear path alone of `codec.networks.lapped` analyses and
decodes: for pictures so unlike those of the training that its networks do harm. The invariant: offsets are multiples of
2^-10, the same on every machine.
"""

import math

import torch
from torch import Tensor

from codec.architecture import LINEAR_PROFILE

PROFILES = 8  # the header of a file has 3 bits
STRENGTH_STEP = 1 / 4
PEAK, PEAK_RANKS = 1.2, 20.0
TAIL, TAIL_RANKS = 0.15, 60.0
GRID = 1024  # offsets are multiples of 1 / GRID, so that no machine's exponential shows


def log_gain_offsets(profile: int, log_gains: Tensor) -> Tensor:
    """Return what a profile adds to the log gains (levels, M) of a model's channels: (M,), on their device.

    Args:
        profile: 0..7; 0 and 7 add nothing.
    """
    if profile == LINEAR_PROFILE:
        return torch.zeros_like(log_gains[0])
    ranks = torch.empty_like(log_gains[0], dtype=torch.long)
    order = log_gains.double().sum(0).argsort(descending=True, stable=True)
    ranks[order] = torch.arange(len(order), device=order.device)
    offsets = [_offset(profile * STRENGTH_STEP, rank) for rank in range(len(order))]
    return torch.tensor(offsets, dtype=log_gains.dtype, device=log_gains.device)[ranks]


def _offset(strength: float, rank: int) -> float:
    peak, tail = PEAK * math.exp(-rank / PEAK_RANKS), TAIL * (1 - math.exp(-rank / TAIL_RANKS))
    return round(GRID * strength * (peak - tail)) / GRID
