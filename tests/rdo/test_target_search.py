"""Targets: met by the written file, never above a ceiling of bytes, or refused with what is in reach."""

import math
import re
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import rdo
from codec.coding import decode, write
from codec.errors import ConfigError
from codec.images.pixels import Pixels, to_tensor
from codec.images.street import street
from codec.metrics.ssimulacra2 import ssimulacra2
from codec.model import Codec
from rdo import RefineConfig, effort, refine, target_search
from rdo.target import Goal
from rdo.target_search import refine_to
from rdo.trim import OperatingPoint, Trimmed

HEIGHT, WIDTH = 190, 250


@pytest.fixture(scope="module")
def x(photo: Callable) -> Tensor:
    return to_tensor(Pixels(photo(HEIGHT, WIDTH), grey=False))


def file_of(codec: Codec, met: OperatingPoint) -> bytes:
    return write(codec, met.refined.latents, width=WIDTH, height=HEIGHT, quality=met.quality, grey=False)


def size_range(codec: Codec, x: Tensor) -> tuple[int, int]:
    sizes = [
        len(
            write(
                codec,
                refine(codec, x, q, config=RefineConfig(iters=0)).plain,
                width=WIDTH,
                height=HEIGHT,
                quality=q,
                grey=False,
            )
        )
        for q in (1.0, 8.0)
    ]
    return min(sizes), max(sizes)


@pytest.mark.parametrize("place", [0.3, 0.6])
@pytest.mark.parametrize("iters", [0, 8])
def test_bytes_are_met_from_below(small, x, place: float, iters: int) -> None:
    low, high = size_range(small, x)
    wanted = int(low * (high / low) ** place)
    steps: list[int] = []
    met = refine_to(
        small,
        x,
        Goal("bytes", wanted),
        config=RefineConfig(iters=iters, temperature_bits=0.0),
        grey=False,
        progress=steps.append,
    )
    size = len(file_of(small, met))
    assert min(0.99 * wanted, wanted // 4 * 4 - 8) <= size <= wanted, "1 %, or two words of four bytes"
    assert steps == list(range(1, len(steps) + 1))
    assert 1 <= met.quality <= 8 and met.lmbda > 0
    assert torch.allclose(
        met.refined.cost_est.total, met.refined.cost_est.bpp + met.lmbda * met.refined.cost_est.distortion
    )


def test_psnr_is_met_by_decoded_pixels(small, x) -> None:
    def psnr(met: OperatingPoint) -> float:
        decoded = to_tensor(decode(small, file_of(small, met)).pixels)
        return 10 * math.log10(1 / float((decoded - x).square().mean()))

    plain = refine_to(small, x, Goal("bytes", sum(size_range(small, x)) // 2), config=RefineConfig(iters=0))
    wanted = psnr(plain)
    assert psnr(refine_to(small, x, Goal("psnr", wanted), config=effort(2))) == pytest.approx(wanted, abs=0.05)


def test_psnr_of_a_grey_picture_is_that_of_its_file(small, photo) -> None:
    grey = np.repeat(photo(HEIGHT, WIDTH).mean(2, keepdims=True).astype(np.uint8), 3, 2)
    x = to_tensor(Pixels(grey, grey=True))
    met = refine_to(small, x, Goal("psnr", 43.0), config=effort(1), grey=True)
    decoded = decode(
        small, write(small, met.refined.latents, width=WIDTH, height=HEIGHT, quality=met.quality, grey=True)
    ).pixels
    mse = np.square(decoded.data.astype(float) - grey).mean()
    assert 10 * math.log10(255**2 / mse) == pytest.approx(43.0, abs=0.05)


def test_a_time_budget_is_that_of_all_runs(small, x) -> None:
    begin = time.monotonic()
    met = refine_to(
        small, x, Goal("bytes", sum(size_range(small, x)) // 2), config=RefineConfig(iters=10**5, time_budget=1)
    )
    assert met.refined.seconds <= time.monotonic() - begin
    assert met.refined.iters < 10**4, "no trim took its eighth of the steps"


def test_where_no_trim_reaches_the_goal_another_quality_does(small, x, monkeypatch) -> None:
    goal, tried = Goal("bytes", sum(size_range(small, x)) // 2), list[float]()
    honest = target_search.trim

    def trim(measurement: Any, problem: Any, start: OperatingPoint, **settings: Any) -> Trimmed:
        tried.append(start.quality)
        trimmed = honest(measurement, problem, start, **settings)
        return trimmed if len(tried) > 1 else missed_by(trimmed, goal.aim - 0.1)

    def missed_by(trimmed: Trimmed, measured: float) -> Trimmed:
        return trimmed._replace(candidate=trimmed.candidate._replace(measured=measured), reached=False, within=None)

    monkeypatch.setattr(target_search, "trim", trim)
    steps: list[int] = []
    met = refine_to(small, x, goal, config=RefineConfig(iters=3), progress=steps.append)
    assert len(tried) == 2 and tried[1] == met.quality > tried[0] + 0.3
    assert goal.met(math.log(len(file_of(small, met)))) and met.refined.iters == steps[-1] == len(steps)

    monkeypatch.setattr(target_search, "trim", lambda *a, **k: missed_by(honest(*a, **k), goal.aim + 9))
    with pytest.raises(ConfigError, match="out of reach"):
        refine_to(small, x, goal, config=RefineConfig(iters=1))


def test_a_ceiling_that_sizes_leap_over_takes_the_largest_file_below_it(small, x, monkeypatch) -> None:
    goal, honest, below = Goal("bytes", sum(size_range(small, x)) // 2), target_search.trim, list[float]()

    def trim(*args: Any, **settings: Any) -> Trimmed:
        candidate = honest(*args, **settings).candidate._replace(measured=goal.aim - (0.2, 0.1, 0.3)[len(below)])
        below.append(candidate.measured)
        return Trimmed(candidate, 0.01, reached=False, within=candidate)

    monkeypatch.setattr(target_search, "trim", trim)
    met = refine_to(small, x, goal, config=RefineConfig(iters=1))
    assert len(below) == target_search.RUNS_MAX and met.lmbda == 0.01


@pytest.mark.parametrize("goal", [Goal("bytes", 700), Goal("psnr", 50)])
@pytest.mark.parametrize("name", ["small", "strayed"])
def test_flat_magenta_meets_a_ceiling_and_a_psnr(request: Any, name: str, goal: Goal) -> None:
    """Its PSNR leaps between levels: where none is near enough, the nearest above is taken."""
    codec = request.getfixturevalue(name)
    magenta = torch.tensor([1.0, 0.0, 1.0])[None, :, None, None].expand(1, 3, 192, 192).contiguous()
    met = refine_to(codec, magenta, goal, config=RefineConfig(iters=0))
    assert name == "small" or met.gain_profile == codec.linear_profile
    data = written(codec.with_gain_profile(met.gain_profile), met, 192, 192)
    mse = np.square(decode(codec, data).pixels.data.astype(float) - [255, 0, 255]).mean()
    assert len(data) <= 700 and 10 * math.log10(255**2 / mse) >= 49.95


def written(writer: Any, met: OperatingPoint, width: int, height: int) -> bytes:
    return write(writer, met.refined.latents, width=width, height=height, quality=met.quality, grey=False)


@pytest.mark.parametrize(("kind", "value"), [("bytes", 40), ("psnr", 90.0), ("psnr", 0.5)])
def test_out_of_reach_says_what_is_near(small, x, kind, value: float) -> None:
    unit = "dB" if kind == "psnr" else kind
    told = f"target {re.escape(f'{value:g}')} {unit}: out of reach; plain encoding's nearest is .* {unit}, at quality"
    with pytest.raises(ConfigError, match=told):
        refine_to(small, x, Goal(kind, value), config=effort(1))


def test_goals_are_met_where_gradients_are_off(small, x) -> None:
    goal = Goal("bytes", sum(size_range(small, x)) // 2)
    with torch.no_grad():
        met = refine_to(small, x, goal, config=RefineConfig(iters=3))
    assert met.refined.iters > 4, "it took no trim, so nothing is shown"
    assert goal.met(math.log(len(file_of(small, met))))


def test_a_ceiling_that_is_never_reached_gives_the_best_quality(small, x) -> None:
    met = refine_to(small, x, Goal("bytes", 10**6), config=effort(1))
    assert met.quality == 8.0 and len(file_of(small, met)) < 10**6


def test_a_ceiling_that_only_plain_encoding_passes_is_filled(small, x) -> None:
    refined = refine(small, x, 8.0, config=effort(2))
    sizes = (
        len(write(small, v, width=WIDTH, height=HEIGHT, quality=8.0, grey=False))
        for v in (refined.latents, refined.plain)
    )
    ceiling = sum(sizes) // 2
    met = refine_to(small, x, Goal("bytes", ceiling), config=effort(2))
    assert 0.99 * ceiling <= len(file_of(small, met)) <= ceiling


def test_a_ceiling_costs_no_quality_to_the_eye(small: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    """On some photographs the discrete search finds nothing under metrics of the eye: trims must not depend on it."""
    monkeypatch.setattr("rdo.trim.search", lambda problem, best, *settings, **more: best)
    pixels = Pixels(street(192, 128), grey=False)
    settings = {"iters": 12, "tune": "visual", "exact": "never"}
    free = rdo.encode(small, pixels, quality=5, **settings)
    bound = rdo.encode(small, pixels, target_bytes=len(free) + 20, **settings)
    scores = [ssimulacra2(pixels, decode(small, data).pixels) for data in (free, bound)]
    assert 0.98 * len(free) < len(bound) <= len(free) + 20 and scores[1] > scores[0] - 1
