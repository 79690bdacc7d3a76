"""Validation: what a codec in training costs on whole photos, by its own estimate of the rate."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from codec.architecture import lmbda_of
from codec.model import STRIDE, Codec, Latents
from codec.pixels import Samples, crop, pad


class Validation(NamedTuple):
    """Means over images at one quality, on rounded latents and 8-bit pixels; rates are estimates."""

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
        bpps, mses = [], []
        for image in images:
            x = image.to(device).float() / 255
            latents = codec.analyse(pad(x, STRIDE), quality)
            rounded = Latents(latents.y.round(), latents.z.round())
            out = codec.evaluate(rounded, quality)
            x_hat = crop(out.x_hat, *x.shape[2:]).clamp(0, 1).mul(255).round()
            bpps.append(float(out.y_bits + out.z_bits) / (x.shape[2] * x.shape[3]))
            mses.append(float(F.mse_loss(x_hat, x * 255)))
        bpp, mse = float(np.mean(bpps)), float(np.mean(mses))
        psnr = float(np.mean([10 * math.log10(255**2 / max(m, 1e-12)) for m in mses]))
        rows.append(Validation(level, bpp, psnr, bpp + lmbda_of(level) * mse))
    return rows
