"""Distortion: what a refinement may hold against a decoded picture, besides its rate.

    D = (1 - share) * mean(weight * (255 (x_hat - x))^2) + share * MS_SSIM_SCALE * (1 - MS-SSIM(x_hat, x))

`weight` is a map of what matters, of mean 1; MS-SSIM looks beyond the edges, see `codec.metrics.distortion`. Unless
told otherwise it is what the codec was trained for.
"""

from dataclasses import dataclass

from torch import Tensor

from codec.errors import ConfigError
from codec.interface import Refinable
from codec.metrics.distortion import image_distortion


@dataclass(frozen=True)
class Distortion:
    """Distortion of pictures in [0, 1] on the scale of mse over 0..255.

    Attributes:
        share: of MS-SSIM, 0..1; 0 is the mse alone.
        weight: (1, 1, H, W) of mean 1, on the pictures' device; None weighs all pixels alike. Of the mse only.
    """

    share: float = 0.0
    weight: Tensor | None = None

    @property
    def recordable(self) -> bool:
        """Whether it can be part of a CUDA graph: pytorch-msssim copies its window to the device in every call."""
        return self.share == 0

    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Distortion (B,) of x_hat (B, 3, H, W).

        Raises:
            ConfigError: the pictures are too small for MS-SSIM, or not of the size of the weights.
        """
        total = x_hat.new_zeros(len(x))
        if self.share < 1:
            total = total + (1 - self.share) * self._squared(x_hat, x).mean((1, 2, 3))
        if self.share > 0:
            total = total + self.share * image_distortion(x_hat, x, "ms_ssim")
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
    """What a codec was trained for."""
    return MSE if codec.distortion == "mse" else Distortion(share=1.0)


def weight_of_mask(mask: Tensor, strength: float) -> Tensor:
    """Weights of mean 1 from a mask (1, 1, H, W) in [0, 1]: white counts `strength` times as much as black."""
    weight = 1 + (strength - 1) * mask
    return weight / weight.mean()
