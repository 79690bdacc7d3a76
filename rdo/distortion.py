"""Distortion: the quality term of the objective, a mix of weighted mse, MS-SSIM, the eye's metrics and one of your own.

    D = (1 - m - v - o) mean(weight * (255 (x_hat - x))^2) + m MS_SSIM_SCALE (1 - MS-SSIM(x_hat, x))
        + v V(x_hat, x) + o k own(x_hat, x)

with the shares m, v and o, and V of `codec.metrics.visual`. V and k are scaled by each picture's plain encoding, k to
mse / own, so that any error of your own stands for the mse, and lambda and quality keep their meaning. `weight` is a
map of mean 1 of how much each pixel matters, to the mse. MS-SSIM is that of `codec.metrics.ms_ssim`, which mirrors the
picture at its edges. The default is the distortion that the codec was trained for. Where blocks of a picture are exact
(`rdo.exact`), x_hat is x before anything is computed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from codec.errors import ConfigError
from codec.images.pixels import Pixels
from codec.interface import Refinable
from codec.metrics.distortion import image_distortion
from codec.metrics.visual import VisualErrors, VisualReference

SHARE_DIGITS = 9  # sums of shares are compared at
Metric = Callable[[Tensor, Tensor], Tensor]  # error (B,) of x_hat against x, (B, 3, H, W) in [0, 1]; differentiable


@dataclass(frozen=True)
class Distortion:
    """Distortion of images in [0, 1], on the scale of mse over 0..255.

    Attributes:
        ms_ssim_share: share m of MS-SSIM in 0..1.
        weight: weights (1, 1, H, W) of the mse, of mean 1, on the images' device; None weighs all pixels alike.
        visual_share: share v of the eye's metrics in 0..1; the rest is the mse.
        visual_scales: factors of the eye's metrics for each image; set by `fitted`.
        reference: the originals as the eye's metrics see them; set by `fitted`.
        exact: mask (1, 1, H, W) of the pixels of an image that have no error, whatever is decoded; None has none.
        own: error of your own, of x_hat and x (B, 3, H, W) in [0, 1]: (B,), differentiable, 0 for equal images, on any
            scale. A picture of several tiles has the mean of theirs, by pixels.
        own_share: share o of `own` in 0..1.
        own_scales: factor k (B,) of each image; set by `fitted`.
    """

    ms_ssim_share: float = 0.0
    weight: Tensor | None = None
    visual_share: float = 0.0
    visual_scales: VisualErrors | None = None
    reference: VisualReference | None = None
    exact: Tensor | None = None
    own: Metric | None = None
    own_share: float = 0.0
    own_scales: Tensor | None = None

    def __post_init__(self) -> None:
        shares = self.ms_ssim_share, self.visual_share, self.own_share
        if min(*shares, round(self.mse_share, SHARE_DIGITS)) < 0:
            named = f"MS-SSIM {shares[0]:g}, the eye's metrics {shares[1]:g} and your own {shares[2]:g}"
            raise ConfigError(f"shares of {named}: must lie in 0..1, also in sum")
        if (self.own is None) != (self.own_share == 0):
            raise ConfigError(f"own_share {self.own_share:g}: give `own` and a share above 0, or neither")

    @property
    def mse_share(self) -> float:
        """Share of the mse in 0..1."""
        return 1 - self.ms_ssim_share - self.visual_share - self.own_share

    @property
    def capturable(self) -> bool:
        """Tell whether a CUDA graph can hold it.

        Not with MS-SSIM, which copies its window to the device each time, nor with `own`, which may do anything.
        """
        return self.ms_ssim_share == 0 and self.own is None

    @property
    def is_fitted(self) -> bool:
        """Tell whether all that needs to be scaled by plain encoding has been."""
        return not (self.visual_share and self.visual_scales is None) and not (self.own and self.own_scales is None)

    @property
    def own_settings(self) -> tuple[float | str, ...]:
        """Share and name of `own`, to tell refinements apart; () without it."""
        if self.own is None:
            return ()
        return self.own_share, f"{self.own.__module__}:{getattr(self.own, '__qualname__', type(self.own).__qualname__)}"

    def fitted(self, x: Tensor, x_plain: Tensor) -> "Distortion":
        """Return the distortion to given originals x (B, 3, H, W), scaled by their plain encodings x_plain.

        Raises:
            ConfigError: the images are too small for the eye's metrics, or `own` returns no errors.
        """
        if not (self.visual_share or self.own):
            return self
        referred = replace(self, reference=VisualReference.of(x)) if self.visual_share else self
        with torch.no_grad():
            return referred.scaled(referred.errors(self.with_exact(x_plain.float().clamp(0, 1), x), x))

    def errors(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Compute what `scaled` takes: of each image the mse, the two errors of the eye and that of `own`, (1..4, B).

        Those that have no share are left out. x_hat has its exact pixels already.
        """
        errors = [image_distortion(x_hat, x, "mse")]
        if self.visual_share:
            errors += (self.reference or VisualReference.of(x)).errors(x_hat)
        if self.own is not None:
            errors.append(self._own_errors(x_hat, x))
        return torch.stack(errors)

    def scaled(self, errors: Tensor) -> "Distortion":
        """Return the distortion with the factors that suit the `errors` of plain encodings.

        Raises:
            ConfigError: an error of `own` is negative or not finite.
        """
        mse, *others = errors
        visual_scales = VisualErrors(*others[:2]).scales(mse) if self.visual_share else None
        own_scales = None
        if self.own is not None:
            error = others[-1]
            if not bool((error.isfinite() & (error >= 0)).all()):
                found = f"own distortion of plain encoding {error.tolist()}"
                raise ConfigError(f"{found}: must be finite, 0 for equal images and larger for worse ones")
            own_scales = torch.where(error > 0, mse / error, torch.ones_like(mse))
        return replace(self, visual_scales=visual_scales, own_scales=own_scales)

    def of_images(self, chosen: list[int]) -> "Distortion":
        """Return the distortion of some of the images that this one was fitted to."""
        visual_scales = self.visual_scales and VisualErrors(*(scale[chosen] for scale in self.visual_scales))
        reference = self.reference and self.reference.of_images(chosen)
        own_scales = None if self.own_scales is None else self.own_scales[chosen]
        return replace(self, visual_scales=visual_scales, reference=reference, own_scales=own_scales)

    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Compute the distortion (B,) of x_hat (B, 3, H, W) against x, differentiable.

        Raises:
            ConfigError: the images are too small for MS-SSIM, or not of the size of the weights, or `own` returns no
                errors.
        """
        x_hat, total = self.with_exact(x_hat, x), x_hat.new_zeros(len(x))
        if round(self.mse_share, SHARE_DIGITS):
            total = total + self.mse_share * self._squared(x_hat, x).mean((1, 2, 3))
        if self.ms_ssim_share:
            total = total + self.ms_ssim_share * image_distortion(x_hat, x, "ms_ssim")
        if self.visual_share:
            assert self.visual_scales and self.reference, "fit it first: the factors k are a picture's own"
            total = total + self.visual_share * self.reference.errors(x_hat).mixed(self.visual_scales)
        if self.own is not None:
            assert self.own_scales is not None, "fit it first: the factor k is a picture's own"
            total = total + self.own_share * self.own_scales * self._own_errors(x_hat, x)
        return total

    def _own_errors(self, x_hat: Tensor, x: Tensor) -> Tensor:
        assert self.own is not None
        errors = self.own(x_hat, x)
        if not isinstance(errors, Tensor) or errors.shape != (len(x),):
            found = f"shape {tuple(errors.shape)}" if isinstance(errors, Tensor) else f"a {type(errors).__name__}"
            raise ConfigError(f"own distortion: returns {found}: must return an error for each image, ({len(x)},)")
        if torch.is_grad_enabled() and x_hat.requires_grad and not errors.requires_grad:
            raise ConfigError("own distortion: returns errors without a gradient: compute them from x_hat, undetached")
        return errors

    def with_exact(self, x_hat: Tensor, x: Tensor) -> Tensor:
        """Return x_hat with the exact pixels of x in their places."""
        return x_hat if self.exact is None else torch.where(self.exact, x, x_hat)

    def with_exact_pixels(self, decoded: Pixels, original: Pixels) -> Pixels:
        """Return a decoded picture with the exact pixels of the original in their places."""
        if self.exact is None:
            return decoded
        exact = self.exact[0, 0, :, :, None].cpu().numpy()
        return Pixels(np.where(exact, original.data, decoded.data), decoded.grey)

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
