"""Wall time and peak memory of a repeated call, on a CPU or a GPU.

The invariant: the peak is that of the timed calls alone, after a first call that allocates and compiles.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch

from codec.allocator import release_memory


class Timing(NamedTuple):
    """Median, least and greatest wall time of repeated calls in seconds, and their peak memory where it is known."""

    seconds: float
    seconds_least: float
    seconds_most: float
    peak_bytes: int | None


def time_calls(call: Callable[[], object], device: torch.device, repeats: int) -> Timing:
    """Time `repeats` calls after one that warms up."""
    release_memory()
    call()
    synchronise(device)
    reset_peak(device)
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        synchronise(device)
        times.append(time.perf_counter() - begin)
    return Timing(statistics.median(times), min(times), max(times), peak_bytes(device))


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has finished its queued kernels; return at once for a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak(device: torch.device) -> None:
    """Set the counter of peak memory to what is in use now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif (peak := Path("/proc/self/clear_refs")).exists():
        peak.write_text("5")  # Linux: reset VmHWM


def peak_bytes(device: torch.device) -> int | None:
    """Return peak memory since `reset_peak`: tensors on a GPU, resident pages on Linux, None elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), None)
