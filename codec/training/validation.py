"""Validation: what a codec in training costs on whole photos, by its own estimate of the rate."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch

from codec.architecture import lmbda_of
from codec.coding import plain_latents
from codec.images.pixels import Samples, crop
from codec.metrics.distortion import measure
from codec.model import Codec


class Validation(NamedTuple):
    """Means over images at one quality, on rounded latents and 8-bit pixels; rates are estimates.

    `cost_est` weighs the distortion that the codec was trained for.
    """

    quality: float
    bpp_est: float
    psnr_db: float
    cost_est: float


@torch.no_grad()
def validate(codec: Codec, photos: Iterable[Samples], qualities: Iterable[float]) -> list[Validation]:
    """Rate (estimated), PSNR and cost of whole photos (H, W, 3) uint8, at each quality."""
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
            psnrs.append(10 * math.log10(255**2 / max(float(measure(x_hat, x, "mse")), 1e-12)))
            distortions.append(float(measure(x_hat, x, codec.config.distortion)))
        bpp, psnr, distortion = (float(np.mean(values)) for values in (bpps, psnrs, distortions))
        rows.append(Validation(level, bpp, psnr, bpp + lmbda_of(level) * distortion))
    return rows
