"""Array work on all of this process's threads: NumPy lets go of Python's lock within an operation on many numbers.

The invariant: what is computed does not depend on the number of threads, which is `torch.get_num_threads()`.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch

PART = 1 << 15  # symbols: an operation on them outlasts the handing over of the lock, and they stay in L2


def in_parts(work: Callable[[slice], None], count: int) -> None:
    """Call `work` for slices that together cover 0..count; each call may touch nothing of another's slice."""
    parts = [slice(start, min(start + PART, count)) for start in range(0, count, PART)]
    threads = min(torch.get_num_threads(), len(parts))
    if threads < 2:
        for part in parts:
            work(part)
        return

    def some(first: int) -> None:
        for part in parts[first::threads]:
            work(part)

    others = [_pool(os.getpid(), threads).submit(some, first) for first in range(1, threads)]
    some(0)
    for other in others:
        other.result()


@cache
def _pool(_process: int, threads: int) -> ThreadPoolExecutor:
    """Of this process: threads do not survive a fork."""
    return ThreadPoolExecutor(threads)
