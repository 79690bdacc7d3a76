"""Measurement against a goal: what the written file has, and mixes of two files on either side of the goal."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from codec.coding import decode, plain_latents, write
from codec.images.pixels import Pixels, to_tensor
from codec.interface import Latents
from codec.model import Codec
from rdo.measurement import Candidate, Measurement
from rdo.schedules import Clock
from rdo.target import Goal

HEIGHT, WIDTH = 100, 130


@pytest.fixture(scope="module")
def x(photo: Callable) -> Tensor:
    return to_tensor(Pixels(photo(HEIGHT, WIDTH), grey=False))


def measurement(codec: Codec, x: Tensor, goal: Goal) -> Measurement:
    return Measurement(codec, x, goal, grey=False, clock=Clock(1, None))


@torch.no_grad()
def plain(codec: Codec, x: Tensor, quality: float) -> Latents:
    return plain_latents(codec, x, codec.level(quality))


def test_bytes_and_psnr_are_those_of_the_file(small, x) -> None:
    latents = plain(small, x, 4.0)
    data = write(small, latents, width=WIDTH, height=HEIGHT, quality=4.0, grey=False)
    assert math.exp(measurement(small, x, Goal("bytes", 1)).measure(latents, 4.0)) == pytest.approx(len(data))
    mse = float((to_tensor(decode(small, data).pixels) - x).square().mean())
    found = measurement(small, x, Goal("psnr", 1)).measure(latents, 4.0)
    assert found == pytest.approx(10 * math.log10(1 / mse), abs=1e-3)


def test_the_estimate_of_plain_bytes_is_close(small, x) -> None:
    on = measurement(small, x, Goal("bytes", 1))
    assert on.measure_plain(4.0) == pytest.approx(on.measure(plain(small, x, 4.0), 4.0), abs=0.02)


@pytest.mark.parametrize("rising", [False, True])
@pytest.mark.parametrize("place", [0.2, 0.7])
def test_a_mix_meets_the_goal_or_stays_below(small, x, place: float, rising: bool) -> None:
    latents = plain(small, x, 4.0)
    fewer = latents._replace(y=latents.y - latents.y.sign())
    sizes = [len(write(small, v, width=WIDTH, height=HEIGHT, quality=4.0, grey=False)) for v in (fewer, latents)]
    assert sizes[0] < 0.9 * sizes[1], "else nothing is shown"
    goal = Goal("bytes", sizes[0] + place * (sizes[1] - sizes[0]))
    on = measurement(small, x, goal)
    ends = [on.candidate(v, 4.0) for v in ((fewer, latents) if rising else (latents, fewer))]
    mixed = on.interpolate(*ends, 4.0)
    assert goal.met(mixed.measured) or mixed.measured < goal.aim
    assert mixed == Candidate(mixed.latents, on.measure(mixed.latents, 4.0))
    either = (mixed.latents.y == fewer.y) | (mixed.latents.y == latents.y)
    assert bool(either.all()) and torch.equal(mixed.latents.z, latents.z)
