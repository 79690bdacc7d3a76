"""Memory: strips fit the limit, the limit that an error names is enough, and what is measured keeps nothing."""

import gc
import subprocess
import sys
from typing import Any

import pytest
import torch

from codec.errors import ConfigError
from codec.model import Codec
from rdo.config import RefineConfig
from rdo.memory import (
    LATENT_COPIES_SEARCH,
    STRIP_PIXELS,
    TEMPORARY_RATIO,
    saved_bytes,
    used_bytes,
    within_memory,
)
from rdo.strips import Strips


def test_strips_keep_less(tiny_codec: Codec) -> None:
    assert 0 < sum(saved_bytes(Strips(tiny_codec, 8, 8))) < sum(saved_bytes(tiny_codec)) / 2


def test_small_pictures_are_done_whole(tiny_codec: Codec) -> None:
    assert within_memory(tiny_codec, torch.Size((1, 3, 3072, 1024)), RefineConfig()) is tiny_codec
    large = within_memory(tiny_codec, torch.Size((1, 3, 3073, 1024)), RefineConfig())
    assert isinstance(large, Strips) and large.rows == STRIP_PIXELS // 1024 // 16
    pair = within_memory(tiny_codec, torch.Size((2, 3, 3073, 1024)), RefineConfig())
    assert isinstance(pair, Strips) and pair.rows == large.rows // 2


def test_less_memory_gives_lower_strips(tiny_codec: Codec) -> None:
    shape = torch.Size((1, 3, 4096, 4096))
    now = used_bytes(tiny_codec) / 2**30
    found = [within_memory(tiny_codec, shape, RefineConfig(memory_gib=now + gib)) for gib in (1, 1.5, 50)]
    assert isinstance(found[0], Strips) and isinstance(found[1], Strips) and found[2] is tiny_codec
    assert found[0].rows < found[1].rows
    descent = within_memory(tiny_codec, shape, RefineConfig(memory_gib=now + 1.5, method="linear"))
    assert isinstance(descent, Strips) and descent.rows < found[1].rows, "its optimiser takes memory too"
    with pytest.raises(ConfigError, match="need at least"):
        within_memory(tiny_codec, shape, RefineConfig(memory_gib=now / 2))


def test_no_more_is_asked_for_than_the_whole_picture_takes(tiny_codec: Codec) -> None:
    """A low, wide picture: lower than the halo of the narrowest strip."""
    shape, now = torch.Size((1, 3, 64, 64_000)), used_bytes(tiny_codec) / 2**30
    with pytest.raises(ConfigError, match="need at least") as refusal:
        within_memory(tiny_codec, shape, RefineConfig(memory_gib=now / 2))
    told = float(str(refusal.value).split()[-2])
    whole = (
        (TEMPORARY_RATIO * sum(saved_bytes(tiny_codec)) + LATENT_COPIES_SEARCH * 4 * tiny_codec.config.latent / 16**2)
        * 64
        * 64_000
    )
    assert told <= now + whole / 2**30 + 0.05
    assert within_memory(tiny_codec, shape, RefineConfig(memory_gib=told)) is not None


@pytest.mark.parametrize("side", [2048, 2560, 3072, 3584, 4096])
def test_the_limit_that_is_named_is_enough(tiny_codec: Codec, side: int) -> None:
    with pytest.raises(ConfigError, match="need at least") as refusal:
        within_memory(tiny_codec, torch.Size((1, 3, side, side)), RefineConfig(memory_gib=0.1))
    told = float(str(refusal.value).split()[-2])
    assert isinstance(within_memory(tiny_codec, torch.Size((1, 3, side, side)), RefineConfig(memory_gib=told)), Strips)


def test_measuring_what_is_kept_keeps_nothing(tiny_codec: Codec) -> None:
    def alive() -> int:
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    found, before = saved_bytes(tiny_codec), alive()
    assert saved_bytes(tiny_codec) == found and alive() == before


@pytest.mark.parametrize("settings", [{"strip_pixels": 1}, {"memory_gib": 50.0}])
def test_strips_are_measured_where_gradients_are_off(tiny_codec: Codec, settings: dict[str, Any]) -> None:
    shape = torch.Size((1, 3, 512, 512))
    with torch.no_grad():
        assert type(within_memory(tiny_codec, shape, RefineConfig(**settings))) is (
            Strips if "strip_pixels" in settings else Codec
        )


PROGRAM = """
import re, sys, torch
from pathlib import Path
from jobs.runtime import keep_memory
keep_memory()
import codec, rdo
x = torch.nn.functional.interpolate(torch.rand(1, 3, 128, 128), size=(1024, 1024), mode="bicubic").clamp(0, 1)
limit = float(sys.argv[1]) or None
rdo.refine(codec.load("small"), x, 4, config=rdo.RefineConfig(iters=1, memory_gib=limit))
print(int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) / 2**20)
"""  # of the program alone: what getrusage tells begins with the peak of the process that started it


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_process_stays_below_the_limit() -> None:
    def peak_gib(limit: float) -> float:
        command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(limit)]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    limit = peak_gib(0) - 0.1
    assert peak_gib(limit) < limit
