"""Training loss by rounding and by distortion, in half precision too, without waiting for the device."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from codec.architecture import lmbda_of
from codec.coding import plain_latents
from codec.interface import rate
from codec.metrics.distortion import image_distortion
from codec.metrics.visual import VISUAL_WEIGHT, WITNESS_SHARE, VisualReference
from codec.model import Codec
from codec.training.loss import Batch, training_loss, uniform_noise, visual_error
from codec.training.schedule import Phase

Photo = Callable[..., NDArray[np.uint8]]


def make_batch(codec: Codec, photo: Photo, side: int = 64, count: int = 2) -> Batch:
    crops = np.stack([photo(side, side, seed) for seed in range(count)]).transpose(0, 3, 1, 2)
    x = torch.from_numpy(crops.copy()) / 255
    quality = torch.linspace(2, 7, count)
    lmbda = torch.tensor([lmbda_of(float(q)) for q in quality])
    return Batch(x, quality, lmbda, *uniform_noise(codec, x, torch.Generator().manual_seed(1)))


def gradients(codec: Codec, batch: Batch, dtype: torch.dtype | None = None) -> dict[str, torch.Tensor]:
    names, parameters = zip(*codec.named_parameters(), strict=True)
    with torch.autocast("cpu", dtype, enabled=dtype is not None):
        loss = training_loss(codec, batch)
    found = torch.autograd.grad(loss.weighted, parameters, allow_unused=True)
    return {name: g for name, g in zip(names, found, strict=True) if g is not None}


def test_hard_rounding_counts_the_bits_of_the_rounded_latents(tiny_codec: Codec, photo: Photo) -> None:
    batch = make_batch(tiny_codec, photo)
    latents = plain_latents(tiny_codec, batch.x, batch.quality)
    y_bits, z_bits = rate(tiny_codec, latents, batch.quality)
    expected = float((y_bits + z_bits).mean()) / 64**2
    assert float(training_loss(tiny_codec, batch, Phase(rounding="hard")).bpp) == pytest.approx(expected, rel=1e-6)
    noisy, still = training_loss(tiny_codec, batch), training_loss(tiny_codec, batch)
    assert float(noisy.bpp) == float(still.bpp) != pytest.approx(expected, rel=1e-4)


def test_a_crop_dearer_than_the_limit_counts_as_the_limit(make_codec: Callable[..., Codec], photo: Photo) -> None:
    codec = make_codec().requires_grad_(True)
    batch, table = make_batch(codec, photo), codec.log_gain.table
    losses = [training_loss(codec, part) for part in batch.split(2)]
    costs = [loss.weighted.item() for loss in losses]
    limit = sum(costs) / 2
    whole, limited = training_loss(codec, batch), training_loss(codec, batch, cost_max=limit)
    assert whole.weighted.item() == pytest.approx(limit)
    assert limited.weighted.item() == pytest.approx((min(costs) + limit) / 2)
    assert limited.bpp.item() == whole.bpp.item() and limited.mse.item() == whole.mse.item()
    factors = [min(1, limit / cost) / 2 for cost in costs]
    expected = sum(
        torch.autograd.grad(loss.weighted, table)[0] * factor for loss, factor in zip(losses, factors, strict=True)
    )
    (gradient,) = torch.autograd.grad(limited.weighted, table)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def test_the_error_to_the_eye_has_the_slope_of_its_metrics_at_the_mse_of_the_crop(photo: Photo) -> None:
    x = torch.from_numpy(np.stack([photo(64, 64, seed) for seed in (0, 1)]).transpose(0, 3, 1, 2).copy()) / 255
    x_hat = (0.9 * x + 0.05).requires_grad_()
    mse = image_distortion(x_hat, x, "mse")
    found = visual_error(x_hat, x, mse)
    assert torch.allclose(found, VISUAL_WEIGHT * mse, rtol=1e-4)
    (gradient,) = torch.autograd.grad(found.sum(), x_hat)
    seen, witnessed = VisualReference.of(x).errors(x_hat)
    mixed = (1 - WITNESS_SHARE) * seen.log() + WITNESS_SHARE * witnessed.log()
    (expected,) = torch.autograd.grad((VISUAL_WEIGHT * mse.detach() * mixed).sum(), x_hat)
    assert float((gradient - expected).norm() / expected.norm()) < 0.01


def test_a_phase_for_the_eye_has_its_share_and_its_steps(tiny_codec: Codec, photo: Photo) -> None:
    batch = make_batch(tiny_codec, photo)
    plain, seen = (training_loss(tiny_codec, batch, Phase(visual_share=share)) for share in (0.0, 0.5))
    assert float(seen.bpp) == float(plain.bpp) and float(seen.mse) == float(plain.mse)
    assert float(seen.weighted) > float(plain.weighted), "the eye's metrics weigh more than the mse they stand for"
    steps = training_loss(tiny_codec, batch, Phase(gain_profile=3))
    expected = training_loss(tiny_codec.with_gain_profile(3), batch, Phase(gain_profile=3))
    assert float(steps.bpp) == float(expected.bpp) != float(plain.bpp)


def test_ms_ssim_takes_the_place_of_the_mse(tiny_codec: Codec, photo: Photo) -> None:
    batch = make_batch(tiny_codec, photo, side=192)
    squared, structural = (
        training_loss(tiny_codec, batch, Phase(distortion=distortion)) for distortion in ("mse", "ms_ssim")
    )
    assert float(squared.mse) == float(structural.mse) and float(squared.bpp) == float(structural.bpp)
    x_hat = tiny_codec.synthesise(plain_latents(tiny_codec, batch.x, batch.quality), batch.quality)
    each = image_distortion(x_hat, batch.x, "ms_ssim")
    mse = 255**2 * (x_hat - batch.x).square().mean((1, 2, 3))
    difference = float((batch.lmbda**0.5 * (each - mse)).mean())
    assert float(structural.weighted - squared.weighted) == pytest.approx(difference, rel=1e-3)


def test_a_batch_is_split_in_order(tiny_codec: Codec, photo: Photo) -> None:
    batch = make_batch(tiny_codec, photo, count=5)
    parts = batch.split(2)
    assert [len(part.x) for part in parts] == [3, 2]
    for whole, pieces in zip(batch, zip(*parts, strict=True), strict=True):
        assert torch.equal(torch.cat(pieces), whole)


@pytest.mark.parametrize("transform", ["klt", "paper"])
def test_half_precision_leaves_likelihoods_and_the_direction_of_the_step(
    make_codec: Callable[..., Codec], photo: Photo, transform: str
) -> None:
    codec = make_codec(transform=transform).requires_grad_(True)
    batch = make_batch(codec, photo)
    full, half = gradients(codec, batch), gradients(codec, batch, torch.bfloat16)
    assert all(g.dtype == torch.float32 and bool(g.isfinite().all()) for g in half.values())
    a, b = (torch.cat([g.flatten() for g in found.values()]) for found in (full, half))
    assert float(torch.cosine_similarity(a, b, dim=0)) > 0.98
    with torch.autocast("cpu", torch.bfloat16):
        y, z = (latent.float().round() for latent in codec.analyse(batch.x, batch.quality))
        mixture = codec.mixture(y, z, batch.quality)
        bits = codec.y_bits(y, mixture)
    assert {t.dtype for t in (*mixture, bits)} == {torch.float32}


def test_gdn_stays_in_single_precision(make_codec: Callable[..., Codec]) -> None:
    gdn = make_codec(transform="paper").g_a.head[1]
    x = torch.randn(1, 16, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(gdn(x), gdn.float()(x)) and gdn(x.bfloat16()).dtype == torch.float32
