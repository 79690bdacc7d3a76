"""Training loss: lmbda^-0.5 * (bpp + lmbda * D), averaged over crops, each at a quality of its own.

D is the mse, MS-SSIM (`codec.metrics.distortion`) or a mix of mse and error to the eye (`codec.metrics.visual`), of
which only the slope counts: its factors are those of the very crop. The input of `g_s`, `h_s` and the context model
is rounded with the straight-through gradient; the rate is that of latents with uniform noise or, with `hard`, of the
rounded ones. No operation here waits for the device.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from codec.architecture import latent_shapes
from codec.interface import Latents
from codec.metrics.distortion import image_distortion
from codec.metrics.visual import VisualErrors, VisualReference
from codec.model import Codec
from codec.training.schedule import Phase

PHASE = Phase()


class Loss(NamedTuple):
    """Means over a batch: the weighted loss that is minimised, bpp as estimated, and mse on the scale 0..255."""

    weighted: Tensor
    bpp: Tensor
    mse: Tensor


class Batch(NamedTuple):
    """Input of one training step.

    Attributes:
        x: crops (B, 3, H, W) in [0, 1].
        quality, lmbda: (B,).
        y_noise, z_noise: uniform in -1/2..1/2, of the shapes of y and z.
    """

    x: Tensor
    quality: Tensor
    lmbda: Tensor
    y_noise: Tensor
    z_noise: Tensor

    def split(self, parts: int) -> list["Batch"]:
        """Split every field along the first axis into at most `parts` batches, in order."""
        return [Batch(*fields) for fields in zip(*(value.chunk(parts) for value in self), strict=True)]


def uniform_noise(codec: Codec, x: Tensor, noise: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw noise in -1/2..1/2 of the shapes of y and z for crops x (B, 3, H, W)."""
    batch, _, height, width = x.shape
    shapes = latent_shapes(codec.config, width, height, batch)
    y_noise, z_noise = (torch.rand(shape, generator=noise, device=x.device) - 0.5 for shape in shapes)
    return y_noise, z_noise


def training_loss(
    codec: Codec,
    batch: Batch,
    phase: Phase = PHASE,
    cost_max: float | None = None,
) -> Loss:
    """Compute the weighted rate-distortion loss of a batch; its mse is reported for any distortion.

    Args:
        phase: distortion, rounding, gain profile, and whether the context model takes part.
        cost_max: loss of a crop above which it counts as one of this loss, its gradient scaled down in proportion.
    """
    codec = codec.with_gain_profile(phase.gain_profile)
    y, z = (latent.float() for latent in codec.analyse(batch.x, batch.quality))
    y_hat, z_hat = straight_through(y), straight_through(z)
    y_rated, z_rated = (y_hat, z_hat) if phase.rounding == "hard" else (y + batch.y_noise, z + batch.z_noise)
    y_bits = codec.y_bits(y_rated, codec.mixture(y_hat, z_hat, batch.quality, phase.context)).sum((1, 2, 3))
    z_bits = codec.z_bits(z_rated, batch.quality).sum((1, 2, 3))
    x_hat = codec.synthesise(Latents(y_hat, z_hat), batch.quality).float()
    bpp = (y_bits + z_bits) / (batch.x.shape[2] * batch.x.shape[3])
    mse = image_distortion(x_hat, batch.x, "mse")
    error = mse if phase.distortion == "mse" else image_distortion(x_hat, batch.x, phase.distortion)
    if phase.visual_share:
        error = (1 - phase.visual_share) * mse + phase.visual_share * visual_error(x_hat, batch.x, mse)
    costs = batch.lmbda**-0.5 * (bpp + batch.lmbda * error)
    if cost_max is not None:
        costs = costs * (cost_max / costs.detach()).clamp(max=1)
    return Loss(costs.mean(), bpp.mean(), mse.mean())


def visual_error(x_hat: Tensor, x: Tensor, mse: Tensor) -> Tensor:
    """Compute the error to the eye (B,) of x_hat (B, 3, H, W), its factors set by x_hat itself, whose mse is given."""
    errors = VisualReference.of(x).errors(x_hat)
    return errors.mixed(VisualErrors(*(error.detach() for error in errors)).scales(mse.detach()))


def straight_through(x: Tensor) -> Tensor:
    """Round x to integers, with the gradient of the identity."""
    return x + (x.round() - x).detach()


class LossModule(nn.Module):
    """Training loss as a module, because torch's DDP wraps modules only."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, batch: Batch, phase: Phase, cost_max: float | None) -> Loss:
        """Compute `training_loss` of the codec."""
        return training_loss(self.codec, batch, phase, cost_max)
