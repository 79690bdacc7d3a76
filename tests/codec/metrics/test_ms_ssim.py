"""MS-SSIM: the published score and the distortion that mirrors pictures beyond their edges."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytorch_msssim import ms_ssim as ms_ssim_within

import codec.metrics.ms_ssim
from codec.errors import ConfigError
from codec.images.pixels import Pixels, to_tensor
from codec.metrics.distortion import image_distortion
from codec.metrics.ms_ssim import EDGE_PX, MS_SSIM_SCALE, ms_ssim, ms_ssim_distortion

Photo = Callable[..., NDArray[np.uint8]]


def noisy(pixels: Pixels) -> Pixels:
    noise = np.random.default_rng(0).integers(-9, 10, pixels.data.shape)
    return Pixels((pixels.data + noise).clip(0, 255).astype(np.uint8), pixels.grey)


def test_score_is_that_of_all_channels_together(photo: Photo) -> None:
    original = Pixels(photo(176, 200), grey=False)
    decoded = noisy(original)
    whole = ms_ssim_within(to_tensor(original), to_tensor(decoded), data_range=1.0)
    assert ms_ssim(original, decoded) == pytest.approx(float(whole), abs=1e-6)


def test_identical_pictures_score_1_and_have_no_distortion(photo: Photo) -> None:
    pixels = Pixels(photo(161, 170), grey=False)
    assert ms_ssim(pixels, pixels) == pytest.approx(1)
    assert float(ms_ssim_distortion(to_tensor(pixels), to_tensor(pixels))) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(("height", "width"), [(160, 300), (300, 160)])
def test_small_pictures_have_no_score_and_raise_in_optimisation(photo: Photo, height: int, width: int) -> None:
    pixels = Pixels(photo(height, width), grey=False)
    assert ms_ssim(pixels, noisy(pixels)) is None
    with pytest.raises(ConfigError, match="sides of 161 pixels or more"):
        ms_ssim_distortion(to_tensor(pixels), to_tensor(pixels))


def test_distortion_is_that_of_mirrored_pictures(photo: Photo) -> None:
    original = Pixels(photo(170, 180), grey=False)
    x, x_hat = to_tensor(original), to_tensor(noisy(original)).requires_grad_()
    found = image_distortion(x_hat, x, "ms_ssim")
    mirrored = [
        torch.from_numpy(np.pad(image[0].detach().numpy(), ((0, 0), *2 * ((EDGE_PX, EDGE_PX),)), "reflect"))[None]
        for image in (x_hat, x)
    ]
    expected = MS_SSIM_SCALE * (1 - ms_ssim_within(*mirrored, data_range=1.0, size_average=False))
    assert found.shape == (1,) and torch.allclose(found, expected)
    (gradient,) = torch.autograd.grad(found.sum(), x_hat)
    assert bool(gradient.isfinite().all()) and bool(gradient[..., 0, 0].any())


def test_distortion_of_mse_is_on_the_scale_of_levels() -> None:
    x = torch.rand(2, 3, 8, 9)
    assert torch.allclose(image_distortion(x + 2 / 255, x, "mse"), torch.full((2,), 4.0))


@pytest.mark.parametrize(("height", "width"), [(161, 161), (162, 300), (701, 233)])
@pytest.mark.parametrize("rows", [16, 512])
def test_bands_give_the_score_of_the_whole(photo, monkeypatch, height: int, width: int, rows: int) -> None:
    a, b = (Pixels(photo(height, width, seed), grey=False) for seed in (0, 1))
    whole = ms_ssim(a, b)
    monkeypatch.setattr(codec.metrics.ms_ssim, "WHOLE_PIXELS_MAX", 0)
    monkeypatch.setattr(codec.metrics.ms_ssim, "BAND_PX", 0)
    monkeypatch.setattr(codec.metrics.ms_ssim, "BAND_ROWS_MIN", rows)
    assert whole is not None and 0 < whole < 0.9 and ms_ssim(a, b) == pytest.approx(whole, rel=1e-5)
