"""Inputs of a benchmark: picture sizes, a synthetic picture, and a codec with or without trained weights."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from codec.checkpoint import installed_models, load_own
from codec.config_files import model_config
from codec.errors import ConfigError
from codec.images.pixels import Pixels
from codec.model import Codec


class Size(NamedTuple):
    """Width and height of a picture in pixels."""

    width: int
    height: int


SIZES = {"kodak": Size(768, 512), "2k": Size(1920, 1080), "4k": Size(3840, 2160)}


def parse_sizes(text: str) -> dict[str, Size]:
    """Parse names of SIZES or WIDTHxHEIGHT between commas, each as name -> size.

    Raises:
        ConfigError: a part is neither.
    """
    found = {}
    for name in text.split(","):
        sides = name.split("x")
        if name not in SIZES and not (len(sides) == 2 and all(s.isdecimal() and int(s) for s in sides)):
            raise ConfigError(f"--sizes {name}: write {', '.join(SIZES)} or WIDTHxHEIGHT")
        found[name] = SIZES[name] if name in SIZES else Size(int(sides[0]), int(sides[1]))
    return found


def check_repeats(repeats: int) -> None:
    """Raise ConfigError unless there is at least one timed call."""
    if repeats < 1:
        raise ConfigError(f"--repeats {repeats}: must be at least 1")


def synthetic_picture(size: Size) -> Pixels:
    """Generate RGB noise with a power spectrum like that of photographs, the same in every run."""
    width, height = size
    rng = np.random.default_rng(0)
    rows, cols = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    frequency = np.maximum(np.hypot(rows, cols), 1 / max(width, height))
    noise = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(3, height, width))) / frequency**1.2, s=(height, width))
    samples = 128 + 45 * noise / noise.std()
    return Pixels(samples.transpose(1, 2, 0).clip(0, 255).astype(np.uint8).copy(), grey=False)


class BenchCodec(NamedTuple):
    """Codec to measure, and whether its weights are trained."""

    codec: Codec
    trained: bool


def load_bench_codec(name: str, device: str) -> BenchCodec:
    """Load a model by name or file, or build a configuration of that name with random weights.

    Raises:
        RdoError: there is neither model nor configuration, or the model cannot be loaded.
    """
    if name in installed_models() or Path(name).suffix in (".safetensors", ".json"):
        return BenchCodec(load_own(name, device), trained=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        codec = Codec(model_config(name))
    codec.prior.freeze()
    return BenchCodec(codec.eval().requires_grad_(False).to(device), trained=False)
