"""Hyper-latents under which the entropy model goes astray: zeros take their place, and nothing else changes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from codec import load
from codec.coding import decode, encode, plain_latents
from codec.hyper_latents import SPREAD_MAX
from codec.images.pixels import Pixels, to_tensor
from codec.interface import Latents, rate
from codec.model import Codec

STRAYS = 1  # channel of z that the entropy model has not learnt to read


@pytest.fixture
def codec(make_codec: Callable[..., Codec]) -> Codec:
    codec = make_codec(seed=2)
    codec.h_s.up[0].weight[STRAYS] *= 1e4
    return codec


@pytest.fixture
def x(photo: Callable[..., object]) -> Tensor:
    return torch.cat([to_tensor(Pixels(photo(256, 320, seed), grey=False)) for seed in range(2)])


def latents_with(codec: Codec, x: Tensor, *values: float) -> tuple[Latents, Tensor]:
    """Latents of images and their quality; the channel is 0 but for values at the second image's first positions."""
    quality = codec.level(4).expand(len(x))
    y, z = codec.analyse(x, quality)
    z[:, STRAYS] = 0
    z[1, STRAYS].view(-1)[: len(values)] = torch.tensor(values)
    return Latents(y, z), quality


def bits(codec: Codec, latents: Latents, quality: Tensor) -> Tensor:
    return torch.stack(rate(codec, Latents(*(v.round() for v in latents)), quality)).sum(0)


def test_usual_latents_stay(codec: Codec, x: Tensor) -> None:
    latents, quality = latents_with(codec, x)
    assert codec.settled(latents, quality) is latents


@pytest.mark.parametrize("value", [1.0, -2.2])
def test_zeros_stand_where_the_price_strays(codec: Codec, x: Tensor, value: float) -> None:
    usual, quality = latents_with(codec, x)
    astray, _ = latents_with(codec, x, 0.3, value, value)
    assert float(bits(codec, astray, quality)[1]) > 2 * float(bits(codec, usual, quality)[1])
    found = codec.settled(astray, quality)
    assert found.y is astray.y
    assert torch.equal(found.z[0], astray.z[0])
    assert not found.z[1, STRAYS].view(-1)[1:].any()
    rest = [channel for channel in range(codec.config.hyper_width) if channel != STRAYS]
    assert float((found.z[1, rest] == astray.z[1, rest]).float().mean()) > 0.9
    assert float(bits(codec, found, quality)[1]) < 1.05 * float(bits(codec, usual, quality)[1])


def test_images_of_a_batch_are_settled_as_if_alone(codec: Codec, x: Tensor) -> None:
    both, quality = latents_with(codec, x, 1.0, 1.0, 0.0, 2.0)
    alone = codec.settled(Latents(*(v[1:] for v in both)), quality[1:])
    assert torch.equal(codec.settled(both, quality).z[1:].round(), alone.z.round())


def test_a_zero_that_costs_more_is_not_taken(codec: Codec, x: Tensor) -> None:
    astray, quality = latents_with(codec, x, *([1.0] * 20))
    assert bool((bits(codec, codec.settled(astray, quality), quality) <= bits(codec, astray, quality)).all())


def test_files_are_written_with_them_and_decode(codec: Codec, photo: Callable[..., object]) -> None:
    pixels = Pixels(photo(192, 256), grey=False)
    codec.h_a.rest[-1].bias[STRAYS] += 1
    x, level = to_tensor(pixels), codec.level(4)
    data, analysed = encode(codec, pixels, 4, tile=0), codec.analyse(x, level)
    assert 8 * len(data) < 0.5 * float(bits(codec, analysed, level))
    decoded = decode(codec, data)
    assert decoded.latents is not None and torch.equal(decoded.latents.z, plain_latents(codec, x, level).z)


@torch.no_grad()
def test_the_embedded_model_prices_any_hyper_latents_sanely() -> None:
    """Random z, as other pictures than photographs may have, on an area without any content."""
    small = load("small")
    random = torch.Generator().manual_seed(1)
    quality = small.level(4).expand(8)
    y = torch.zeros(8, small.config.latent, 12, 12)
    z = torch.zeros(8, small.config.hyper_width, 3, 3)
    for each in z:
        for channel in torch.randint(0, len(each), (3,), generator=random):
            each[channel] = float(torch.randint(1, 3, (), generator=random))
    found = small.settled(Latents(y, z), quality)
    assert float(bits(small, found, quality).max()) / 192**2 < 0.2
    mixture = small.mixture(y, found.z, quality, context=False)
    gains = small.group_gains(quality, small.context.step_segments(12, 12)).squeeze(4)
    assert float(((mixture.weights * mixture.scales).sum(-2) / gains).max()) <= SPREAD_MAX
