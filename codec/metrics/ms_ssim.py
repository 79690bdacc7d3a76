"""MS-SSIM (Wang, Simoncelli and Bovik, 2003): the published score, and a distortion made from it for optimisation.

The published score slides windows that lie within the picture, so the outermost pixels count next to nothing: a codec
optimised for it spends nothing on them, and every picture gets a frame. The distortion therefore mirrors pictures
beyond their edges. With `EDGE_PX` mirrored pixels the outermost count 0.4 to 1.1 times as much as the middle, the next
two 0.6 to 1.6 times (by noise, on five pictures of Kodak; without, 0.001 to 0.004 and 0.01 to 0.04).
"""

import statistics

import torch
from torch import Tensor
from torch.nn.functional import pad

from codec.architecture import MS_SSIM_SIDE_MIN
from codec.errors import ConfigError
from codec.images.pixels import Pixels, to_tensor

# CompressAI's published pairs of lambdas for models trained on mse and on MS-SSIM have ratios of 1220 to 1330, 1280 in
# the middle of the range: so scaled, lambda keeps its meaning.
MS_SSIM_SCALE = 1280.0
EDGE_PX = 6


def ms_ssim(original: Pixels, decoded: Pixels) -> float | None:
    """Return the published MS-SSIM of 8-bit pictures, at most 1; None if a side is below 161 pixels."""
    if min(original.width, original.height) < MS_SSIM_SIDE_MIN:
        return None
    from pytorch_msssim import ms_ssim as ms_ssim_within

    # The mean over channels, one at a time: a third of the memory.
    channels = zip(to_tensor(original).split(1, 1), to_tensor(decoded).split(1, 1), strict=True)
    return statistics.fmean(float(ms_ssim_within(a, b, data_range=1.0)) for a, b in channels)


def ms_ssim_distortion(x_hat: Tensor, x: Tensor) -> Tensor:
    """Return `MS_SSIM_SCALE` * (1 - MS-SSIM) (B,) of x_hat and x (B, 3, H, W) in [0, 1], mirrored beyond their edges.

    Raises:
        ConfigError: a side is below 161 pixels.
    """
    if min(x.shape[-2:]) < MS_SSIM_SIDE_MIN:
        raise ConfigError(f"MS-SSIM needs sides of {MS_SSIM_SIDE_MIN} pixels or more: optimise the mse (--ms-ssim 0)")
    from pytorch_msssim import ms_ssim as ms_ssim_within

    with torch.autocast(x.device.type, enabled=False):  # variances are differences of near equals
        mirrored = (pad(image, 4 * (EDGE_PX,), "reflect") for image in (x_hat, x))
        similarity: Tensor = ms_ssim_within(*mirrored, data_range=1.0, size_average=False)
    return MS_SSIM_SCALE * (1 - similarity)
