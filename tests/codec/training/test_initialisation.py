"""What a run starts from: a transform that rebuilds its pictures, unit deviations, steps that suit each rate."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from codec.architecture import STRIDE, ModelConfig
from codec.errors import ConfigError
from codec.images.pixels import pad
from codec.model import Codec, level_steps
from codec.networks.groups import deal_channels
from codec.training.initialisation import grow, initialise

Photo = Callable[..., NDArray[np.uint8]]
COPIES = 10_007  # so many that each gives one patch of 30,021, not 60,000 in all: half the time


@pytest.fixture(scope="module")
def photos(photo: Photo) -> list[np.ndarray]:
    return [photo(96, 128, seed) for seed in range(3)]


def started(config: ModelConfig, photos: list[np.ndarray]) -> Codec:
    torch.manual_seed(0)
    codec = Codec(config)
    initialise(codec, photos * COPIES)
    return codec.eval().requires_grad_(False)


@pytest.fixture(scope="module", params=["klt", "skip"])
def initialised(
    request: pytest.FixtureRequest, tiny_config: Callable[..., ModelConfig], photos: list[np.ndarray]
) -> Codec:
    return started(tiny_config(latent=192, transform=request.param), photos)


def test_initialise_makes_a_transform_that_rebuilds_its_pictures(initialised: Codec, photos: list[np.ndarray]) -> None:
    for at, photo in enumerate(photos):
        x = pad(torch.from_numpy(photo).permute(2, 0, 1)[None] / 255, STRIDE)
        quality = torch.tensor([4.0])
        x_hat = initialised.g_s(initialised.g_a(x, quality), quality)
        psnr_db = -10 * math.log10(float((x_hat - x).square().mean()))
        assert psnr_db > 25, f"photo {at}"


def test_initialise_deals_sorted_channels_and_gives_each_unit_deviation(
    initialised: Codec, photos: list[np.ndarray]
) -> None:
    deviation = initialised.g_a.deviation
    assert torch.equal(deviation, initialised.g_s.deviation)
    assert torch.equal(deviation, deviation.sort(descending=True).values[deal_channels(192, 4)])
    kernel = initialised.g_a.linear.weight.flatten(1)
    torch.testing.assert_close(kernel @ kernel.T, torch.eye(192), atol=1e-4, rtol=0)
    x = torch.cat([torch.from_numpy(p[:96, :128]).permute(2, 0, 1)[None] / 255 for p in photos])
    inner = initialised.g_a(x, torch.full((3,), 4.0))[:, :24, 1:-1, 1:-1]
    spread = inner.square().mean((0, 2, 3)).sqrt()
    assert 0.5 < float(spread.mean()) < 2


def test_initialise_sets_the_step_of_each_level_on_the_scale_of_pixels(initialised: Codec) -> None:
    steps = initialised.g_a.deviation / initialised.gains(torch.tensor([1.0, 8.0]))
    expected = level_steps(8)[[0, 7], None].expand(2, 192)
    torch.testing.assert_close(steps, expected, rtol=1e-4, atol=0)
    assert float(expected[0, 0]) == pytest.approx((26 / 0.002) ** 0.5, rel=1e-4)


def test_the_papers_latents_start_with_unit_deviation(
    tiny_config: Callable[..., ModelConfig], photos: list[np.ndarray]
) -> None:
    codec = started(tiny_config(transform="paper"), photos)
    quality = torch.tensor([4.5])
    y = torch.cat([codec.g_a(torch.from_numpy(p[:64, :128]).permute(2, 0, 1)[None] / 255, quality) for p in photos], 3)
    deviation, mean = torch.std_mean(y, (0, 2, 3))
    assert float(mean.abs().max()) < 0.05 and bool(((deviation > 0.95) & (deviation < 1.05)).all())
    gains = codec.gains(torch.tensor([1.0, 8.0]))
    torch.testing.assert_close(
        gains[1] / gains[0], (level_steps(8)[0] / level_steps(8)[7]).expand(16), rtol=1e-4, atol=0
    )
    assert torch.equal(gains[0], gains[0].sort(descending=True).values[deal_channels(16, 4)])
    assert float(gains[0, 0]) > 1, "not all are rounded to zero"


def test_a_grown_codec_computes_what_the_shallower_one_does_and_can_learn_more(
    make_codec: Callable[..., Codec], tiny_config: Callable[..., ModelConfig]
) -> None:
    smaller = make_codec(context_depth=1)
    codec = Codec(tiny_config(context_depth=3, analysis_blocks=4, synthesis_blocks=5)).eval()
    assert len(codec.state_dict()) > len(smaller.state_dict())
    grow(codec, smaller)
    x, quality = torch.rand(1, 3, 128, 192), torch.tensor([3.5])
    found, expected = codec.analyse(x, quality), smaller.analyse(x, quality)
    torch.testing.assert_close(tuple(found), tuple(expected), atol=1e-5, rtol=0)
    latents = type(found)(*(t.round() for t in expected))
    torch.testing.assert_close(tuple(codec.evaluate(latents, quality)), tuple(smaller.evaluate(latents, quality)))
    sum(t.sum() for t in codec.evaluate(codec.analyse(x, quality), quality)).backward()
    new = {name: p.grad for name, p in codec.named_parameters() if name not in smaller.state_dict()}
    assert all(grad is not None for grad in new.values())
    awake = {name for name, grad in new.items() if bool(grad.any())}
    assert {"g_a.blocks.3.second.weight", "g_s.blocks.4.second.weight", "context.blocks.2.project.weight"} <= awake


@pytest.mark.parametrize("change", [{"width": 24}, {"latent": 32}, {"order": "cfo"}, {"analysis_blocks": 0}])
def test_only_depth_may_grow(
    make_codec: Callable[..., Codec], tiny_config: Callable[..., ModelConfig], change: dict[str, int]
) -> None:
    with pytest.raises(ConfigError, match="in greater depths alone"):
        grow(Codec(tiny_config(**change)), make_codec())
