"""The map of bits against the rate it divides."""

from collections.abc import Callable

import pytest
import torch

from codec.interface import Latents, bit_map, rate
from codec.model import Codec


@pytest.mark.parametrize("blocks", [(4, 8), (8, 4)])
def test_the_bit_map_sums_to_the_rate(tiny_codec: Codec, blocks: tuple[int, int]) -> None:
    height, width = blocks
    y = torch.randn(2, tiny_codec.config.latent, height, width).mul(3).round()
    z = torch.randn(2, tiny_codec.config.hyper_width, height // 4, width // 4).mul(2).round()
    level = torch.tensor([2.0, 6.0])
    y_bits, z_bits = rate(tiny_codec, Latents(y, z), level)
    found = bit_map(tiny_codec, Latents(y, z), level)
    assert found.shape == (2, height, width)
    torch.testing.assert_close(found.sum((1, 2)), y_bits + z_bits)


def test_bits_lie_where_the_latents_are(make_codec: Callable[..., Codec]) -> None:
    codec = make_codec()
    y = torch.zeros(1, codec.config.latent, 8, 8)
    z = torch.zeros(1, codec.config.hyper_width, 2, 2)
    level = torch.tensor([4.0])
    before = bit_map(codec, Latents(y, z), level)
    y[0, :, 5, 2] = 40  # far from what an untrained model expects
    after = bit_map(codec, Latents(y, z), level)
    assert (after - before).flatten().argmax() == 5 * 8 + 2
