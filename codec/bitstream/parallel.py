"""Array work on all threads of this process: NumPy releases the interpreter's lock within an operation on large arrays.

The invariant: results do not depend on the number of threads, which is `torch.get_num_threads()`.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch

CHUNK = 1 << 15  # symbols: large enough to pay for the switch between threads, small enough for the L2 cache


def parallel_for(work: Callable[[slice], None], count: int) -> None:
    """Call `work` on slices that together cover 0..count, in several threads; exceptions of `work` reach the caller.

    Args:
        work: fills its own slice of some arrays and touches no other.
        count: number of symbols; up to `CHUNK` of them stay in the calling thread.
    """
    chunks = [slice(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]
    threads = min(torch.get_num_threads(), len(chunks))
    if threads < 2:
        for chunk in chunks:
            work(chunk)
        return

    def every_nth(first: int) -> None:
        for chunk in chunks[first::threads]:
            work(chunk)

    others = [_thread_pool(os.getpid(), threads).submit(every_nth, first) for first in range(1, threads)]
    every_nth(0)
    for other in others:
        other.result()


@cache
def _thread_pool(_process: int, threads: int) -> ThreadPoolExecutor:
    """Return the thread pool of a process id, since threads do not survive a fork."""
    return ThreadPoolExecutor(threads)
