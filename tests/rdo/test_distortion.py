"""Distortion: by hand, its parts and weights, and what it refuses."""

import pytest
import torch
from pytorch_msssim import ms_ssim

from codec.distortion import MS_SSIM_SCALE
from codec.errors import ConfigError
from rdo.distortion import Distortion, weight_of_mask


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
    other = MS_SSIM_SCALE * (1 - ms_ssim(x_hat, x, data_range=1.0, size_average=False))
    mixed = (1 - share) * Distortion()(x_hat, x) + share * other
    assert torch.allclose(Distortion(share)(x_hat, x), mixed)


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
