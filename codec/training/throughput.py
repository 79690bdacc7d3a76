"""Throughput of training: operations a crop, and what the machine's matrix products reach, to compare with."""

import resource
import sys
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from codec.architecture import ModelConfig, lmbda_of
from codec.model import Codec
from codec.training.loss import Batch, training_loss, uniform_noise

TIMED_S = 0.3  # seconds of matrix products that are timed


def crop_flops(config: ModelConfig, crop: int, device: torch.device) -> int:
    """Count the floating point operations of forward and backward for one crop of `crop` x `crop` pixels.

    Matrix products, convolutions and attention are counted, by running a codec made for the purpose once.
    """
    codec = Codec(config).to(device)
    noise = torch.Generator(device).manual_seed(0)
    x, quality = torch.rand(1, 3, crop, crop, generator=noise, device=device), torch.full((1,), 4.0, device=device)
    batch = Batch(x, quality, torch.full_like(quality, lmbda_of(4.0)), *uniform_noise(codec, x, noise))
    with FlopCounterMode(display=False) as counter:
        training_loss(codec, batch).weighted.backward()
    return int(counter.get_total_flops())


def matmul_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the floating point operations a second that a large square matrix product reaches on `device`."""
    side = 8192 if device.type == "cuda" else 1024
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    a @ b  # the first one loads the library
    _wait(device)
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < TIMED_S:
        for _ in range(4):
            a @ b
        _wait(device)
        count += 4
    return count * 2 * side**3 / (time.perf_counter() - begin)


def peak_memory_bytes(device: torch.device) -> int:
    """Return the peak memory so far, in bytes: of tensors on a GPU, of the process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    kib = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kib


def _wait(device: torch.device) -> None:
    """Wait for the kernels of a GPU to finish."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
