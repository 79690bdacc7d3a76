"""Validation of a codec in training: rate by its own estimate, PSNR and cost on whole photos."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch

from codec.architecture import lmbda_of
from codec.coding import plain_latents
from codec.images.pixels import Samples, crop
from codec.metrics.distortion import image_distortion
from codec.metrics.psnr import psnr_db_of_mse
from codec.model import Codec

MSE_MIN = 1e-12  # keeps the PSNR of an identical image finite, so that means are


class Validation(NamedTuple):
    """Means over images at one quality: rate and cost as the model estimates them, PSNR of 8-bit pixels.

    `cost_est` is bpp + lmbda * distortion, of the training objective's metric.
    """

    quality: float
    bpp_est: float
    psnr_db: float
    cost_est: float


@torch.no_grad()
def validate(codec: Codec, photos: Iterable[Samples], qualities: Iterable[float]) -> list[Validation]:
    """Return the mean estimated rate, PSNR and estimated cost of whole photos, uint8 (H, W, 3), at each quality."""
    device = next(codec.parameters()).device
    rows = []
    images = [torch.from_numpy(np.ascontiguousarray(p)).permute(2, 0, 1)[None] for p in photos]
    for level in qualities:
        quality = torch.tensor([level], device=device)
        bpps, psnrs, distortions = [], [], []
        for image in images:
            x = image.to(device).float() / 255
            out = codec.evaluate(plain_latents(codec, x, quality), quality)
            x_hat = crop(out.x_hat, *x.shape[2:]).clamp(0, 1).mul(255).round() / 255
            bpps.append(float(out.y_bits + out.z_bits) / (x.shape[2] * x.shape[3]))
            mse = max(float(image_distortion(x_hat, x, "mse")), MSE_MIN)
            psnrs.append(psnr_db_of_mse(mse))
            distortions.append(float(image_distortion(x_hat, x, codec.config.distortion)))
        bpp, psnr, distortion = (float(np.mean(values)) for values in (bpps, psnrs, distortions))
        rows.append(Validation(level, bpp, psnr, bpp + lmbda_of(level) * distortion))
    return rows
