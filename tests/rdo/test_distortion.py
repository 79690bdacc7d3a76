"""Distortion: by hand, its parts and weights, and what it refuses."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pytorch_msssim import ms_ssim

from codec.errors import ConfigError
from codec.metrics.distortion import image_distortion
from codec.metrics.ms_ssim import MS_SSIM_SCALE
from rdo.distortion import Distortion, weight_of_mask

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
