"""Distortion of pictures, on the scale of the mse over 0..255, so that lambda keeps its meaning.

The scale of MS-SSIM: CompressAI's published pairs of lambdas for models trained on mse and on MS-SSIM have ratios of
1220 to 1330, 1280 in the middle of the range.

MS-SSIM looks through windows that lie within the picture, so the outermost pixels count next to nothing: a codec that
is told no more spends nothing on them, and every picture gets a frame. What is optimised here is MS-SSIM of pictures
that go on beyond their edges, mirrored: with `EDGE` pixels the outermost count 0.4 to 1.1 times as much as the middle,
the next two 0.6 to 1.6 times (by noise, on five pictures of Kodak; without, 0.001 to 0.004 and 0.01 to 0.04). Scores of
files, `jobs.record`, have MS-SSIM as published.
"""

import torch
from pytorch_msssim import ms_ssim
from torch import Tensor
from torch.nn.functional import pad

from codec.architecture import MS_SSIM_SIDE_MIN, Distortion
from codec.errors import ConfigError

MS_SSIM_SCALE = 1280.0
EDGE = 6  # pixels


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
        seen = (pad(picture, 4 * (EDGE,), "reflect") for picture in (x_hat, x))
        similarity: Tensor = ms_ssim(*seen, data_range=1.0, size_average=False)
    return MS_SSIM_SCALE * (1 - similarity)
