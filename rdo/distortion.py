"""Distortion: the quality term of the objective of a refinement, a mix of weighted mse, MS-SSIM and the eye's metrics.

    D = (1 - m - v) mean(weight * (255 (x_hat - x))^2) + m MS_SSIM_SCALE (1 - MS-SSIM(x_hat, x)) + v V(x_hat, x)

with the shares m and v, and V of `codec.metrics.visual`, scaled by each picture's plain encoding. `weight` is a map of
mean 1 of how much each pixel matters, to the mse. MS-SSIM is that of `codec.metrics.ms_ssim`, which mirrors the picture
at its edges. The default is the distortion that the codec was trained for.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from codec.errors import ConfigError
from codec.interface import Refinable
from codec.metrics.distortion import image_distortion
from codec.metrics.visual import VisualErrors, VisualReference

SHARE_DIGITS = 9  # sums of shares are compared at


@dataclass(frozen=True)
class Distortion:
    """Distortion of images in [0, 1], on the scale of mse over 0..255.

    Attributes:
        ms_ssim_share: share m of MS-SSIM in 0..1.
        weight: weights (1, 1, H, W) of the mse, of mean 1, on the images' device; None weighs all pixels alike.
        visual_share: share v of the eye's metrics in 0..1; the rest is the mse.
        visual_scales: factors k of each image; set by `fitted`.
        reference: the originals as the eye's metrics see them; set by `fitted`.
    """

    ms_ssim_share: float = 0.0
    weight: Tensor | None = None
    visual_share: float = 0.0
    visual_scales: VisualErrors | None = None
    reference: VisualReference | None = None

    def __post_init__(self) -> None:
        if min(self.ms_ssim_share, self.visual_share, round(self.mse_share, SHARE_DIGITS)) < 0:
            raise ConfigError(
                f"shares of MS-SSIM {self.ms_ssim_share:g} and the eye's metrics {self.visual_share:g}: must lie in "
                "0..1, also in sum"
            )

    @property
    def mse_share(self) -> float:
        """Share of the mse in 0..1."""
        return 1 - self.ms_ssim_share - self.visual_share

    @property
    def capturable(self) -> bool:
        """Tell whether a CUDA graph can hold it; not with MS-SSIM, which copies its window to the device each time."""
        return self.ms_ssim_share == 0

    def fitted(self, x: Tensor, x_plain: Tensor) -> "Distortion":
        """Return the distortion to given originals x (B, 3, H, W), scaled by their plain encodings x_plain.

        Raises:
            ConfigError: the images are too small for the eye's metrics.
        """
        if not self.visual_share:
            return self
        reference = VisualReference.of(x)
        with torch.no_grad():
            x_plain = x_plain.float().clamp(0, 1)
            scales = reference.errors(x_plain).scales(image_distortion(x_plain, x, "mse"))
        return replace(self, visual_scales=scales, reference=reference)

    def of_images(self, chosen: list[int]) -> "Distortion":
        """Return the distortion of some of the images that this one was fitted to."""
        if self.visual_scales is None or self.reference is None:
            return self
        scales = VisualErrors(*(scale[chosen] for scale in self.visual_scales))
        return replace(self, visual_scales=scales, reference=self.reference.of_images(chosen))

    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Compute the distortion (B,) of x_hat (B, 3, H, W) against x, differentiable.

        Raises:
            ConfigError: the images are too small for MS-SSIM, or not of the size of the weights.
        """
        total = x_hat.new_zeros(len(x))
        if round(self.mse_share, SHARE_DIGITS):
            total = total + self.mse_share * self._squared(x_hat, x).mean((1, 2, 3))
        if self.ms_ssim_share:
            total = total + self.ms_ssim_share * image_distortion(x_hat, x, "ms_ssim")
        if self.visual_share:
            assert self.visual_scales and self.reference, "fit it first: the factors k are a picture's own"
            total = total + self.visual_share * self.reference.errors(x_hat).mixed(self.visual_scales)
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
