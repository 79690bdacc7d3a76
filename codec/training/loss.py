"""What training minimises: lmbda^-0.5 * (bpp + lmbda * D) of crops, each at a quality of its own.

D is the mse or MS-SSIM of `codec.metrics.distortion`. Rounding is straight-through for what `g_s`, `h_s` and the
context model see; for the rate it is uniform noise or, with `hard`, straight-through too. No operation here waits for
the device.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from codec.architecture import Distortion, latent_shapes
from codec.interface import Latents
from codec.metrics.distortion import measure
from codec.model import Codec

Rounding = Literal["noise", "hard"]


class Loss(NamedTuple):
    """Means over a batch: what is minimised, and its parts."""

    weighted: Tensor
    bpp: Tensor
    mse: Tensor


class Batch(NamedTuple):
    """What one step learns from; `split` cuts every field along the first axis.

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
        """At most `parts` batches, in order."""
        return [Batch(*fields) for fields in zip(*(value.chunk(parts) for value in self), strict=True)]


def uniform_noise(codec: Codec, x: Tensor, noise: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noise for y and z of crops x (B, 3, H, W)."""
    batch, _, height, width = x.shape
    shapes = latent_shapes(codec.config, width, height, batch)
    y_noise, z_noise = (torch.rand(shape, generator=noise, device=x.device) - 0.5 for shape in shapes)
    return y_noise, z_noise


def training_loss(
    codec: Codec, batch: Batch, distortion: Distortion = "mse", rounding: Rounding = "noise", context: bool = True
) -> Loss:
    """Weighted rate-distortion loss of a batch; its mse is reported whatever is minimised.

    Without `context` the hyperprior alone prices y.
    """
    y, z = (latent.float() for latent in codec.analyse(batch.x, batch.quality))
    y_hat, z_hat = straight_through(y), straight_through(z)
    y_seen, z_seen = (y_hat, z_hat) if rounding == "hard" else (y + batch.y_noise, z + batch.z_noise)
    y_bits = codec.y_bits(y_seen, codec.mixture(y_hat, z_hat, batch.quality, context)).sum((1, 2, 3))
    z_bits = codec.z_bits(z_seen, batch.quality).sum((1, 2, 3))
    x_hat = codec.synthesise(Latents(y_hat, z_hat), batch.quality).float()
    bpp = (y_bits + z_bits) / (batch.x.shape[2] * batch.x.shape[3])
    mse = measure(x_hat, batch.x, "mse")
    error = mse if distortion == "mse" else measure(x_hat, batch.x, distortion)
    weighted = (batch.lmbda**-0.5 * (bpp + batch.lmbda * error)).mean()
    return Loss(weighted, bpp.mean(), mse.mean())


def straight_through(x: Tensor) -> Tensor:
    """round(x), with the gradient of the identity."""
    return x + (x.round() - x).detach()


class Objective(nn.Module):
    """The loss as a module, which is what torch's DDP wraps."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.codec = codec

    def forward(self, batch: Batch, distortion: Distortion, rounding: Rounding, context: bool) -> Loss:
        """See `training_loss`."""
        return training_loss(self.codec, batch, distortion, rounding, context)
