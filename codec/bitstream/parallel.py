"""Work on all threads of this process: NumPy and torch release the interpreter's lock within an operation.

The invariant: results do not depend on the number of threads, which is `torch.get_num_threads()`.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

WORKERS_MAX = 4  # items at a time: each takes memory
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


def workers(device: torch.device) -> int:
    """Return how many items are worked on at a time on a device (`side_by_side`)."""
    return min(torch.get_num_threads(), WORKERS_MAX) if device.type == "cpu" else 1


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item], device: torch.device) -> list[Result]:
    """Call `work`, without gradients, on every item, and return the results in order.

    On a CPU `WORKERS_MAX` items are worked on at a time, as far as there are threads, each by one thread: so sums are
    made in the same order whatever their number. On another device it is one item after the other.
    """
    threads, at_a_time = torch.get_num_threads(), workers(device)
    if at_a_time == 1:
        with torch.no_grad():
            return [work(item) for item in items]

    def alone(item: Item) -> Result:
        torch.set_num_threads(1)  # of the calling thread, with OpenMP
        with torch.no_grad():  # likewise
            return work(item)

    # the same threads each time: the allocator keeps memory for each
    pool = _thread_pool(os.getpid(), at_a_time)
    futures = [pool.submit(alone, item) for item in items]
    try:
        return [future.result() for future in futures]
    finally:
        for future in futures:
            future.cancel()
        wait(futures)
        torch.set_num_threads(threads)  # MKL has one number for all threads


@cache
def _thread_pool(_process: int, threads: int) -> ThreadPoolExecutor:
    """Return the thread pool of a process id, since threads do not survive a fork."""
    return ThreadPoolExecutor(threads)
