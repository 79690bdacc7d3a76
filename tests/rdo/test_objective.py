"""The cost: by hand, on the picture's own pixels, clamped as a decoder clamps."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from codec.images.pixels import Pixels, pad, to_tensor
from codec.interface import Latents
from rdo.objective import Cost, Problem

QUALITY, LMBDA = torch.tensor([4.0, 4.0]), torch.tensor([0.01, 0.5])
NOTHING = Latents(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 1, 1))


class Stub:
    """Decodes everything to one padded picture."""

    def __init__(self, x_hat: Tensor) -> None:
        self.x_hat = x_hat

    def mixture(self, y: Tensor, z: Tensor, quality: Tensor) -> None:
        return None

    def y_bits(self, y: Tensor, mixture: None) -> Tensor:
        return torch.tensor([300.0, 40.0])[:, None, None, None]

    def z_bits(self, z: Tensor, quality: Tensor) -> Tensor:
        return torch.tensor([20.0, 2.0])[:, None, None, None]

    def synthesise(self, latents: Latents, quality: Tensor) -> Tensor:
        return self.x_hat


def cost(codec: object, latents: Latents, x: Tensor, quality: Tensor, lmbda: Tensor) -> Cost:
    return Problem(codec, x, quality, lmbda).cost(latents)


def test_cost_by_hand_and_each_image_by_its_own_lmbda() -> None:
    x, x_hat = torch.rand(2, 3, 20, 10), torch.rand(2, 3, 64, 64)
    found = cost(Stub(x_hat), NOTHING, x, QUALITY, LMBDA)
    mse = (255 * (x_hat[:, :, :20, :10] - x)).pow(2).flatten(1).mean(1)
    bpp = torch.tensor([320.0, 42.0]) / 200
    assert torch.allclose(found.bpp, bpp) and torch.allclose(found.distortion, mse, rtol=1e-5)
    assert torch.allclose(found.total, bpp + LMBDA * mse, rtol=1e-5)


def test_padding_has_no_distortion_and_no_gradient() -> None:
    x = torch.rand(2, 3, 20, 10)
    inside = pad(x, 64) * 0.9
    outside = inside.clone()
    outside[:, :, 20:], outside[:, :, :, 10:] = 7.0, -7.0
    outside.requires_grad_()
    found = cost(Stub(outside), NOTHING, x, QUALITY, LMBDA)
    assert torch.equal(found.total, cost(Stub(inside), NOTHING, x, QUALITY, LMBDA).total)
    found.total.sum().backward()
    assert bool(outside.grad[:, :, :20, :10].any())
    assert not bool(outside.grad[:, :, 20:].any() | outside.grad[:, :, :, 10:].any())


def test_what_a_decoder_clamps_costs_nothing() -> None:
    x = torch.cat([torch.zeros(2, 3, 64, 32), torch.ones(2, 3, 64, 32)], 3)
    beyond = torch.where(x > 0, 1.7, -0.4)
    assert not bool(cost(Stub(beyond), NOTHING, x, QUALITY, LMBDA).distortion.any())


@pytest.mark.parametrize(("height", "width"), [(64, 64), (30, 70)])
def test_gradient_reaches_both_latents(tiny_codec, photo: Callable, height: int, width: int) -> None:
    x = to_tensor(Pixels(photo(height, width), grey=False))
    quality = torch.tensor([3.0])
    with torch.no_grad():
        start = tiny_codec.analyse(pad(x, 64), quality)
    latents = Latents(*(t.round().requires_grad_() for t in start))
    found = cost(tiny_codec, latents, x, quality, torch.tensor([0.01]))
    found.total.sum().backward()
    with torch.no_grad():
        out = tiny_codec.evaluate(latents, quality)
    assert torch.allclose(found.bpp, (out.y_bits + out.z_bits) / (height * width))
    for latent in latents:
        assert bool(latent.grad.isfinite().all()) and bool(latent.grad.any())
