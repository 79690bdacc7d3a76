"""Distortion that training and refinement minimise, by the name of its metric.

Every metric is on the scale of the mse over 0..255, so that lambda keeps its meaning.
"""

from torch import Tensor

from codec.architecture import MS_SSIM_SIDE_MIN, Metric
from codec.metrics.ms_ssim import ms_ssim_distortion


def image_distortion(x_hat: Tensor, x: Tensor, metric: Metric) -> Tensor:
    """Return the distortion (B,) of x_hat against x, both (B, 3, H, W) in [0, 1], differentiable.

    Raises:
        ConfigError: the images are too small for MS-SSIM.
    """
    if metric == "mse":
        return (255 * (x_hat - x)).square().mean((1, 2, 3))
    return ms_ssim_distortion(x_hat, x)


def is_too_small(side: int, metric: Metric) -> bool:
    """Tell whether a picture with a shorter side of so many pixels has no value of a metric."""
    return metric == "ms_ssim" and side < MS_SSIM_SIDE_MIN
