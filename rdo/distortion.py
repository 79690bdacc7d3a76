"""Distortion: the quality term of the objective of a refinement, a mix of weighted mse and MS-SSIM.

    D = (1 - share) * mean(weight * (255 (x_hat - x))^2) + share * MS_SSIM_SCALE * (1 - MS-SSIM(x_hat, x))

`weight` is a map of mean 1 of how much each pixel matters. MS-SSIM is that of `codec.metrics.distortion`, which pads
the picture at its edges. The default is the distortion that the codec was trained for.
"""

from dataclasses import dataclass

from torch import Tensor

from codec.errors import ConfigError
from codec.interface import Refinable
from codec.metrics.distortion import image_distortion


@dataclass(frozen=True)
class Distortion:
    """Distortion of images in [0, 1], on the scale of mse over 0..255.

    Attributes:
        ms_ssim_share: share of MS-SSIM in 0..1; 0 is the mse alone.
        weight: weights (1, 1, H, W) of the mse, of mean 1, on the images' device; None weighs all pixels alike.
    """

    ms_ssim_share: float = 0.0
    weight: Tensor | None = None

    @property
    def capturable(self) -> bool:
        """Whether a CUDA graph can hold it; not with MS-SSIM, which copies its window to the device in every call."""
        return self.ms_ssim_share == 0

    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Compute the distortion (B,) of x_hat (B, 3, H, W) against x, differentiable.

        Raises:
            ConfigError: the images are too small for MS-SSIM, or not of the size of the weights.
        """
        total = x_hat.new_zeros(len(x))
        if self.ms_ssim_share < 1:
            total = total + (1 - self.ms_ssim_share) * self._squared(x_hat, x).mean((1, 2, 3))
        if self.ms_ssim_share > 0:
            total = total + self.ms_ssim_share * image_distortion(x_hat, x, "ms_ssim")
        return total

    def _squared(self, x_hat: Tensor, x: Tensor) -> Tensor:
        squared = (255 * (x_hat - x)).square()
        if self.weight is None:
            return squared
        if self.weight.shape[-2:] != x.shape[-2:]:
            height, width = self.weight.shape[-2:]
            size = f"{x.shape[-1]}x{x.shape[-2]}"
            raise ConfigError(f"the mask is {width}x{height} pixels, the picture {size}: give a mask of its size")
        return squared * self.weight


MSE = Distortion()


def distortion_of(codec: Refinable) -> Distortion:
    """Return the distortion that a codec was trained for."""
    return MSE if codec.distortion == "mse" else Distortion(ms_ssim_share=1.0)


def weight_of_mask(mask: Tensor, strength: float) -> Tensor:
    """Compute weights of mean 1 from a mask (1, 1, H, W) in [0, 1]; white weighs `strength` times as much as black."""
    weight = 1 + (strength - 1) * mask
    return weight / weight.mean()
