"""Conversion between 8-bit pixels and tensors, padding and cropping."""

import numpy as np
import pytest
import torch

from codec.images.pixels import Pixels, crop, from_tensor, pad, to_tensor


def test_tensor_round_trip_is_exact_on_all_levels() -> None:
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    colour = np.stack([ramp[..., 0], ramp[::-1, :, 0], ramp[:, ::-1, 0]], axis=2)
    for data, grey in ((ramp, True), (colour, False)):
        x = to_tensor(Pixels(data, grey))
        assert x.shape == (1, 3, 16, 16) and x.dtype == torch.float32 and x.min() == 0 and x.max() == 1
        assert np.array_equal(from_tensor(x, grey).data, data)


def test_to_tensor_puts_channels_first_and_shares_no_memory() -> None:
    data = np.array([[[255, 0, 51]]], dtype=np.uint8)
    data.flags.writeable = False
    assert to_tensor(Pixels(data, grey=False)).flatten().tolist() == pytest.approx([1, 0, 0.2])


@pytest.mark.parametrize(("level", "expected"), [(99.51, 100), (99.49, 99), (254.6, 255), (-9.0, 0), (300.0, 255)])
@pytest.mark.parametrize("grey", [False, True])
def test_from_tensor_clamps_and_rounds(level: float, expected: int, grey: bool) -> None:
    pixels = from_tensor(torch.full((1, 3, 2, 3), level / 255), grey)
    assert pixels.data.shape == (2, 3, 3) and pixels.data.dtype == np.uint8 and (pixels.data == expected).all()


def test_grey_is_the_mean_before_rounding() -> None:
    x = torch.tensor([10.4, 10.4, 10.8]).reshape(1, 3, 1, 1) / 255  # rounded one by one: 10, 10, 11
    assert from_tensor(x, grey=True).data.tolist() == [[[11, 11, 11]]]
    assert from_tensor(x.requires_grad_(), grey=False).data.tolist() == [[[10, 10, 11]]]


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (1, 130), (63, 65)])
def test_pad_repeats_the_edge_and_crop_undoes_it(size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *size)
    padded = pad(x, 64)
    assert padded.shape == (2, 3, -(-size[0] // 64) * 64, -(-size[1] // 64) * 64)
    assert torch.equal(crop(padded, *size), x)
    assert torch.equal(padded[:, :, -1, -1], x[:, :, -1, -1])
    assert torch.equal(padded[:, :, : size[0], -1], x[..., -1])
