"""A process that encodes or decodes: its streams, signals, threads, memory and device."""

import atexit
import ctypes
import gc
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

THREADS = 2  # of torch in every process that encodes; fixed, as the order of sums decides the bytes of a file
STDERR = 2  # its file descriptor


def settle_streams() -> None:
    """Make standard output and errors take any text: those that are closed lead nowhere, and the others escape.

    Without a file behind descriptor 2, the next file that is opened would get it, and with it what libraries print.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        pass
    os.close(descriptor)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if (stream := getattr(sys, name)) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  (for the life of the process)
        elif name != "stdin" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def leave_quickly() -> None:
    """Let the process end without a search for garbage among torch's objects, which takes half a second of a core."""
    atexit.unregister(gc.freeze)  # of another command in this process
    atexit.register(gc.freeze)


def before_torch() -> None:
    """Set the environment that takes effect when torch is imported."""
    # spinning threads would take the cores from those of other processes
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def flag_on_signal() -> threading.Event:
    """Return an event that Ctrl-C and SIGTERM set, from now on, instead of ending the process."""
    flag = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: flag.set())
    return flag


@contextmanager
def interrupts_kept_from_children() -> Iterator[None]:
    """Block Ctrl-C, which reaches all processes of a terminal, in child processes that are started in this context."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def keep_memory() -> None:
    """Configure glibc to keep freed memory: page faults of large tensors can double the time of a step."""
    if sys.platform != "linux":
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
        trim_threshold, mmap_threshold, arenas = -1, -3, -8  # from malloc.h
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, (1 << 31) - 1)
        libc.mallopt(arenas, 1)  # as what one thread frees serves the others: two decode in 0.1 GB less
    except (OSError, AttributeError):
        return  # another libc, merely slower


def check_device(device: str) -> str:
    """Return `device` if torch can use it; to be called before torch starts its threads.

    Also flushes denormal numbers (below 1e-38) to zero on the CPU: Adam's averages of vanished gradients become
    denormal, and arithmetic with them is slow.

    Raises:
        ConfigError: unknown or absent device.
    """
    import numpy as np
    import torch

    from codec.errors import ConfigError

    for kind in (np.float32, np.float64):
        np.finfo(kind)  # keeps the limits; to find them without denormal numbers, NumPy would warn
    torch.set_flush_denormal(True)  # threads inherit it
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"--device {device}: not usable here: {str(error).splitlines()[0]}") from error
    return device
