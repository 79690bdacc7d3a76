"""Distortion: by hand, its parts and weights, and what it refuses."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytorch_msssim import ms_ssim
from torch import Tensor

from codec.coding import decode
from codec.errors import ConfigError
from codec.images.pixels import Pixels, to_tensor
from codec.metrics.distortion import image_distortion
from codec.metrics.ms_ssim import MS_SSIM_SCALE
from rdo import RefineConfig, encode, refine
from rdo.distortion import Distortion, weight_of_mask
from rdo.encoding import encode_pictures
from rdo.tune import tune_of

Photo = Callable[..., NDArray[np.uint8]]


def pictures(side: int = 170) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(2, 3, side, side)
    return (x + 0.05 * torch.randn_like(x)).clamp(0, 1), x


def test_mse_of_each_picture() -> None:
    x_hat, x = pictures(20)
    by_hand = torch.stack([(255 * (a - b)).pow(2).mean() for a, b in zip(x_hat, x, strict=True)])
    assert torch.allclose(Distortion()(x_hat, x), by_hand)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_ms_ssim(share: float) -> None:
    x_hat, x = pictures()
    rows = torch.tensor([*range(6, 0, -1), *range(170), *range(168, 162, -1)])  # mirrored beyond the edges
    seen = (picture[:, :, rows][..., rows] for picture in (x_hat, x))
    other = MS_SSIM_SCALE * (1 - ms_ssim(*seen, data_range=1.0, size_average=False))
    mixed = (1 - share) * Distortion()(x_hat, x) + share * other
    assert torch.allclose(Distortion(share)(x_hat, x), mixed)


def test_ms_ssim_sees_the_outermost_pixels_as_it_sees_others(photo: Photo) -> None:
    x = torch.from_numpy(photo(192, 192)).permute(2, 0, 1)[None] / 255
    noise = 0.05 * torch.randn_like(x)
    ring, inner = (torch.zeros(192, 192) for _ in range(2))
    ring[:] = 1
    ring[2:-2, 2:-2] = 0
    inner[40:-40, 40:-40] = 1
    of_ring, of_inner = (
        float(image_distortion(x + noise * part, x, "ms_ssim") / part.mean()) for part in (ring, inner)
    )
    assert 0.3 < of_ring / of_inner < 2.5


def test_weights_have_mean_1_and_count_what_they_mark() -> None:
    x_hat, x = pictures(20)
    mask = torch.zeros(1, 1, 20, 20)
    mask[..., :5] = 1
    weight = weight_of_mask(mask, 4.0)
    assert float(weight.mean()) == pytest.approx(1) and float(weight[..., 0, 0] / weight[..., 0, 9]) == pytest.approx(4)
    squared = (255 * (x_hat - x)).square()
    by_hand = (4 * squared[..., :5].sum((1, 2, 3)) + squared[..., 5:].sum((1, 2, 3))) / 3 / (4 * 100 + 300)
    assert torch.allclose(Distortion(0.0, weight)(x_hat, x), by_hand, rtol=1e-4)
    assert torch.allclose(Distortion(0.0, weight_of_mask(mask, 1.0))(x_hat, x), Distortion()(x_hat, x))


def test_what_does_not_fit_is_refused() -> None:
    x_hat, x = pictures(160)
    with pytest.raises(ConfigError, match="161 pixels"):
        Distortion(0.5)(x_hat, x)
    with pytest.raises(ConfigError, match="mask is 30x20 pixels, the picture 160x160"):
        Distortion(0.0, torch.ones(1, 1, 20, 30))(x_hat, x)


def luma_error(x_hat: Tensor, x: Tensor) -> Tensor:
    """Mean squared error of luma, on a scale of its own: an error (B,) that a user may bring."""
    luma = torch.tensor([0.299, 0.587, 0.114], device=x.device)[:, None, None]
    return (luma * (x_hat - x)).sum(1).square().mean((1, 2))


OWN = Distortion(own=luma_error, own_share=1.0)


def test_an_error_of_ones_own_stands_for_the_mse_of_plain_encoding() -> None:
    x_hat, x = pictures(20)
    fitted = OWN.fitted(x, x_hat)
    assert not OWN.is_fitted and fitted.is_fitted and fitted.mse_share == 0
    assert torch.allclose(fitted(x_hat, x), Distortion()(x_hat, x))
    nearer = (x + x_hat) / 2
    assert torch.allclose(fitted(nearer, x), fitted(x_hat, x) / 4, rtol=1e-4)
    half = Distortion(own=luma_error, own_share=0.5).fitted(x, x_hat)
    assert torch.allclose(half(nearer, x), (fitted(nearer, x) + Distortion()(nearer, x)) / 2)
    assert torch.allclose(fitted.of_images([1])(nearer[1:], x[1:]), fitted(nearer, x)[1:])


def test_a_perfect_plain_encoding_has_an_error_of_zero() -> None:
    _, x = pictures(20)
    fitted = OWN.fitted(x, x)
    assert fitted(x, x).tolist() == [0, 0] and bool((fitted(1 - x, x) > 0).all())


@pytest.mark.parametrize(("height", "width", "tile"), [(70, 90, 0), (64, 128, 64)])
@pytest.mark.usefixtures("one_start")
def test_files_are_refined_for_it(tiny_codec, photo: Photo, height: int, width: int, tile: int) -> None:
    pixels = Pixels(photo(height, width), grey=False)
    settings = {"config": RefineConfig(iters=10), "lmbda": 1e-3, "tile": tile}
    [found] = encode_pictures(tiny_codec, [pixels], tune=tune_of(f"{__name__}:luma_error", tiny_codec), **settings)
    data = encode(tiny_codec, pixels, distortion=OWN, **settings)
    assert data == found.file.data and found.refined.distortion.is_fitted
    files = (decode(tiny_codec, each).pixels for each in (data, found.plain.data))
    x, x_hat, x_plain = (to_tensor(each) for each in (pixels, *files))
    error, plain_error = (float(luma_error(each, x)) for each in (x_hat, x_plain))
    mse = float(Distortion()(x_plain, x))
    cost = found.file.bpp + 1e-3 * mse * error / plain_error
    assert found.file.cost(1e-3) == pytest.approx(cost, rel=0.01)
    assert cost < 0.99 * found.plain.cost(1e-3) == pytest.approx(0.99 * (found.plain.bpp + 1e-3 * mse), rel=0.01)


def test_it_tells_refinements_apart() -> None:
    assert Distortion().own_settings == ()
    assert OWN.own_settings == (1.0, f"{__name__}:luma_error")
    assert not OWN.capturable and Distortion().capturable


@pytest.mark.parametrize(
    ("own", "text"),
    [
        (
            lambda x_hat, x: (x_hat - x).square().mean(),
            r"returns shape \(\): must return an error for each image, \(1,\)",
        ),
        (lambda x_hat, x: 0.5, "returns a float"),
        (lambda x_hat, x: (x_hat - x).mean((1, 2, 3)) - 3, "must be finite, 0 for equal images"),
        (lambda x_hat, x: (x_hat / 0).mean((1, 2, 3)), "must be finite, 0 for equal images"),
        (lambda x_hat, x: (x_hat.detach() - x).square().mean((1, 2, 3)), "without a gradient"),
    ],
)
def test_what_is_no_error_is_refused(tiny_codec, photo: Photo, own, text: str) -> None:
    x = to_tensor(Pixels(photo(30, 40), grey=False))
    with pytest.raises(ConfigError, match=text):
        refine(tiny_codec, x, 4, config=RefineConfig(iters=1), distortion=Distortion(own=own, own_share=1.0))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"own": luma_error}, "give `own` and a share above 0, or neither"),
        ({"own_share": 0.5}, "give `own` and a share above 0, or neither"),
        ({"own": luma_error, "own_share": 0.6, "visual_share": 0.5}, "must lie in 0..1, also in sum"),
        ({"own": luma_error, "own_share": -0.1}, "must lie in 0..1"),
    ],
)
def test_shares_that_do_not_add_up_are_refused(settings: dict, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Distortion(**settings)
