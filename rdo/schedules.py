"""Schedules as functions of t, the fraction 0..1 of the budget that is spent. None knows a number of steps."""

import math


def geometric(start: float, end: float, t: float) -> float:
    """start * (end / start)^t: temperatures."""
    return start * (end / start) ** t


def cosine(start: float, end: float, t: float) -> float:
    """Half a cosine from start to end, flat at both: learning rates."""
    return end + (start - end) * (1 + math.cos(math.pi * t)) / 2
