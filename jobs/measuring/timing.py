"""What benchmarks share: time and memory of a call, a picture of any size, a codec with or without trained weights."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from codec.checkpoint import installed_models, load_own, model_config
from codec.errors import ConfigError
from codec.images.pixels import Pixels
from codec.model import Codec
from rdo.strips import release_memory

SIZES = {"kodak": (768, 512), "2k": (1920, 1080), "4k": (3840, 2160)}


class Timing(NamedTuple):
    """Of repeated calls: median seconds, the range that holds them all, and peak memory in all, where it is known."""

    seconds: float
    seconds_least: float
    seconds_most: float
    peak_bytes: int | None


def measure(run: Callable[[], object], device: torch.device, repeats: int) -> Timing:
    """Time `run` after one call to warm up."""
    release_memory()
    run()
    synchronise(device)
    reset_peak(device)
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        synchronise(device)
        times.append(time.perf_counter() - begin)
    return Timing(statistics.median(times), min(times), max(times), peak_bytes(device))


def synchronise(device: torch.device) -> None:
    """Wait for what was started on a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak(device: torch.device) -> None:
    """Start counting peak memory anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif (peak := Path("/proc/self/clear_refs")).exists():
        peak.write_text("5")


def peak_bytes(device: torch.device) -> int | None:
    """Most memory since `reset_peak`: tensors on a GPU, this process's pages on Linux; None elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), None)


def sizes(text: str) -> dict[str, tuple[int, int]]:
    """Names of SIZES or WIDTHxHEIGHT, between commas.

    Raises:
        ConfigError: neither.
    """
    found = {}
    for name in text.split(","):
        sides = name.split("x")
        if name not in SIZES and not (len(sides) == 2 and all(s.isdecimal() and int(s) for s in sides)):
            raise ConfigError(f"--sizes {name}: write {', '.join(SIZES)} or WIDTHxHEIGHT")
        found[name] = SIZES[name] if name in SIZES else (int(sides[0]), int(sides[1]))
    return found


def picture(width: int, height: int) -> Pixels:
    """Noise with a spectrum like that of photographs, the same in every run."""
    rng = np.random.default_rng(0)
    rows, cols = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    frequency = np.maximum(np.hypot(rows, cols), 1 / max(width, height))
    noise = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(3, height, width))) / frequency**1.2, s=(height, width))
    samples = 128 + 45 * noise / noise.std()
    return Pixels(samples.transpose(1, 2, 0).clip(0, 255).astype(np.uint8).copy(), grey=False)


def bench_codec(name: str, device: str) -> tuple[Codec, bool]:
    """A trained codec, or one of a configuration with random weights; and whether it is trained."""
    if name in installed_models() or Path(name).suffix in (".safetensors", ".json"):
        return load_own(name, device), True
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        codec = Codec(model_config(name))
    codec.prior.freeze()
    return codec.eval().requires_grad_(False).to(device), False
