"""Distortion of pictures, on the scale of the mse over 0..255, so that lambda keeps its meaning.

The scale of MS-SSIM: CompressAI's published pairs of lambdas for models trained on mse and on MS-SSIM have ratios of
1220 to 1330, 1280 in the middle of the range.
"""

import torch
from pytorch_msssim import ms_ssim
from torch import Tensor

from codec.architecture import MS_SSIM_SIDE_MIN, Distortion
from codec.errors import ConfigError

MS_SSIM_SCALE = 1280.0


def measure(x_hat: Tensor, x: Tensor, distortion: Distortion) -> Tensor:
    """Distortion (B,) of x_hat from x, both (B, 3, H, W) in [0, 1].

    Raises:
        ConfigError: the pictures are too small for MS-SSIM.
    """
    if distortion == "mse":
        return (255 * (x_hat - x)).square().mean((1, 2, 3))
    if min(x.shape[-2:]) < MS_SSIM_SIDE_MIN:
        raise ConfigError(f"MS-SSIM needs sides of {MS_SSIM_SIDE_MIN} pixels or more: optimise the mse (--ms-ssim 0)")
    with torch.autocast(x.device.type, enabled=False):  # variances are differences of near equals
        similarity: Tensor = ms_ssim(x_hat, x, data_range=1.0, size_average=False)
    return MS_SSIM_SCALE * (1 - similarity)
