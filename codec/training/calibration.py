"""Calibration: after training, make quality q the best one for lmbda_of(q) on truly rounded latents.

Training sees noise in place of rounding, which misjudges the rate of rare symbols, so a trained model may code best for
lmbda at another quality than the one meant. Rows of every `RateTable` are therefore resampled at the qualities that
measure best. Nothing else changes: the curve of rate and distortion stays, its points move to the lmbda they suit.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec.architecture import MS_SSIM_SIDE_MIN, QUALITY_FIRST, QUALITY_LAST, STRIDE, lmbda_of
from codec.coding import plain_latents
from codec.images.pixels import Samples
from codec.metrics.distortion import measure
from codec.model import Codec
from codec.networks.transforms import RateTable

OFFSETS = (-1.5, -1.0, -0.5, 0.0, 0.5)  # of the quality, tried around each level
SIDE = 256  # pixels of the square cut from the middle of each photo


@torch.no_grad()
def calibrate(codec: Codec, photos: list[Samples]) -> list[float]:
    """Resample the rate levels; returns the quality, by the old scale, that each level now stands for.

    Args:
        photos: uint8 (H, W, 3); a dozen will do. Those with a side below 64 pixels, or 192 for MS-SSIM, are left out.
    """
    least = 1 if codec.config.distortion == "mse" else MS_SSIM_SIDE_MIN
    crops = [_middle(photo) for photo in photos if min(photo.shape[:2]) >= -(-least // STRIDE) * STRIDE]
    levels = np.linspace(QUALITY_FIRST, QUALITY_LAST, codec.config.levels)
    best = [_best_quality(codec, crops, level) for level in levels] if crops else []
    inside = np.array([(level, q - level) for level, q in zip(levels, best, strict=False) if q is not None])
    if len(inside) < 2:
        return [float(level) for level in levels]
    # a straight line through the shifts evens out the noise of few photos, and reaches the ends of the scale
    slope, offset = np.polyfit(inside[:, 0], inside[:, 1], 1)
    meant = [float(level + offset + slope * level) for level in levels]
    for module in codec.modules():
        if isinstance(module, RateTable):
            module.table.copy_(torch.stack([_row(module.table, q, levels) for q in meant]))
    return meant


def _best_quality(codec: Codec, crops: list[Tensor], level: float) -> float | None:
    """Where a parabola through the costs at lmbda_of(level) is least; None if that lies beyond what was tried."""
    tried = [level + offset for offset in OFFSETS if QUALITY_FIRST <= level + offset <= QUALITY_LAST]
    costs = [_cost(codec, crops, q, lmbda_of(level)) for q in tried]
    least = int(np.argmin(costs))
    if not 0 < least < len(tried) - 1:
        return None
    near = slice(least - 1, least + 2)
    second, first, _ = np.polyfit(tried[near], costs[near], 2)
    return float(-first / (2 * second))


def _cost(codec: Codec, crops: list[Tensor], quality: float, lmbda: float) -> float:
    """Mean bpp + lmbda * distortion of rounded latents, bpp by the model's estimate."""
    level = torch.tensor([float(quality)], device=next(codec.parameters()).device)
    total = 0.0
    for x in crops:
        x = x.to(level.device)
        out = codec.evaluate(plain_latents(codec, x, level), level)
        distortion = measure(out.x_hat.clamp(0, 1), x, codec.config.distortion)
        total += float((out.y_bits + out.z_bits) / (x.shape[2] * x.shape[3]) + lmbda * distortion)
    return total / len(crops)


def _row(table: Tensor, quality: float, levels: NDArray[np.float64]) -> Tensor:
    """A row of a rate table at any quality, carried on in a straight line beyond its ends."""
    low = int(np.clip(np.searchsorted(levels, quality) - 1, 0, len(levels) - 2))
    weight = (quality - levels[low]) / (levels[low + 1] - levels[low])
    return torch.lerp(table[low], table[low + 1], weight)


def _middle(photo: Samples) -> Tensor:
    """(1, 3, side, side) in [0, 1], side a multiple of 64 and at most `SIDE`."""
    height, width = (min(SIDE, length // STRIDE * STRIDE) for length in photo.shape[:2])
    top, left = (photo.shape[0] - height) // 2, (photo.shape[1] - width) // 2
    square = np.ascontiguousarray(photo[top : top + height, left : left + width])
    return torch.from_numpy(square).permute(2, 0, 1)[None] / 255
