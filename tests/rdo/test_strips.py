"""Strips: values and gradients of the whole picture, and refinements that end where those of the whole end."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch

from codec.images.pixels import Pixels, to_tensor
from codec.interface import Latents
from codec.model import Codec
from rdo.config import RefineConfig
from rdo.refinement import refine
from rdo.strips import Strips, halo_rows

QUALITY = torch.tensor([4.0, 6.5])
LMBDA = 1e-4  # rate and distortion of an untrained codec weigh about the same


def random_latents(codec: Codec, rows: int, columns: int) -> Latents:
    shapes = (2, codec.config.latent, rows, columns), (2, codec.config.hyper_width, rows // 4, columns // 4)
    return Latents(*((2 * torch.randn(shape)).round() for shape in shapes))


def results(codec: Codec | Strips, latents: Latents) -> tuple[list[torch.Tensor], tuple[torch.Tensor, ...]]:
    """Everything that a refinement asks, and the gradient of a random sum of it."""
    free = Latents(*(v.clone().requires_grad_() for v in latents))
    mixture = codec.mixture(*free, QUALITY)
    asked = [*mixture, codec.y_bits(free.y, mixture), codec.z_bits(free.z, QUALITY), codec.synthesise(free, QUALITY)]
    weights = torch.Generator().manual_seed(1)
    total = sum((t * torch.rand(t.shape, generator=weights)).mean() for t in asked)
    assert isinstance(total, torch.Tensor)
    return [t.detach() for t in asked], torch.autograd.grad(total, free)


@pytest.mark.parametrize("transform", ["klt", "paper"])
@pytest.mark.parametrize("rows", [8, 24])
def test_strips_give_the_values_and_gradients_of_the_whole(
    transform: Literal["klt", "paper"], rows: int, make_codec: Callable[..., Codec]
) -> None:
    codec = make_codec(transform=transform)
    latents = random_latents(codec, 52, 12)
    values, slopes = results(codec, latents)
    in_strips, slopes_in_strips = results(Strips(codec, rows, halo_rows(codec)), latents)
    for whole, strip in zip((*values, *slopes), (*in_strips, *slopes_in_strips), strict=True):
        assert torch.allclose(whole, strip, rtol=1e-4, atol=2e-5 * float(whole.abs().max()))


def test_a_narrower_halo_is_felt(tiny_codec: Codec) -> None:
    halo = halo_rows(tiny_codec)
    assert halo > 0 and halo % tiny_codec.config.window == 0
    latents = random_latents(tiny_codec, 52, 12)
    _, slopes = results(tiny_codec, latents)
    _, clipped = results(Strips(tiny_codec, 8, halo - tiny_codec.config.window), latents)
    assert any((a - b).abs().max() > 1e-2 * a.abs().max() for a, b in zip(slopes, clipped, strict=True))


def test_deeper_contexts_reach_further(make_codec: Callable[..., Codec]) -> None:
    assert halo_rows(make_codec(context_depth=4)) > halo_rows(make_codec(context_depth=2))


def test_a_refinement_in_strips_finds_what_one_without_finds(tiny_codec: Codec, photo: Callable[..., Any]) -> None:
    x = to_tensor(Pixels(photo(200, 150), grey=False))
    config = RefineConfig(iters=4, method="sga", lr_y=0.2, lr_z=0.1)
    whole = refine(tiny_codec, x, 4, config=config, lmbda=LMBDA)
    cut = refine(tiny_codec, x, 4, config=replace(config, strip_pixels=1), lmbda=LMBDA)
    assert cut.cost_est.total < cut.plain_cost_est.total
    assert torch.allclose(cut.plain_cost_est.total, whole.plain_cost_est.total, rtol=1e-5)
    assert torch.allclose(cut.cost_est.total, whole.cost_est.total, rtol=1e-2)
