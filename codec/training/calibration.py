"""Calibration of the quality scale after training: quality q becomes the best one for lmbda_of(q) on rounded latents.

Training has noise in place of rounding, which misestimates the rate of rare symbols, so a trained model may have its
least cost at lmbda_of(q) at another quality than q. Rows of every `RateTable` are therefore resampled at the qualities
of least measured cost. The rate-distortion curve stays; its points move to the lambda they suit.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec.architecture import MS_SSIM_SIDE_MIN, QUALITY_FIRST, QUALITY_LAST, STRIDE, lmbda_of
from codec.coding import plain_latents
from codec.images.pixels import Samples
from codec.metrics.distortion import image_distortion
from codec.model import Codec
from codec.networks.transforms import RateTable

QUALITY_OFFSETS = (-1.5, -1.0, -0.5, 0.0, 0.5)  # tried around each rate level
CROP_PX = 256  # side of the square cut from the middle of each photo


@torch.no_grad()
def calibrate(codec: Codec, photos: list[Samples]) -> list[float]:
    """Resample the rate levels in place; returns the quality, on the old scale, that each level now stands for.

    Args:
        photos: uint8 (H, W, 3), about a dozen; those with a side below 64 pixels, or 192 for MS-SSIM, are left out.
    """
    side_min = 1 if codec.config.distortion == "mse" else MS_SSIM_SIDE_MIN
    crops = [_centre_crop(photo) for photo in photos if min(photo.shape[:2]) >= -(-side_min // STRIDE) * STRIDE]
    levels = np.linspace(QUALITY_FIRST, QUALITY_LAST, codec.config.levels)
    best = [_best_quality(codec, crops, level) for level in levels] if crops else []
    inside = np.array([(level, q - level) for level, q in zip(levels, best, strict=False) if q is not None])
    if len(inside) < 2:
        return [float(level) for level in levels]
    # a straight line through the shifts evens out the noise of few photos, and reaches the ends of the scale
    slope, offset = np.polyfit(inside[:, 0], inside[:, 1], 1)
    calibrated = [float(level + offset + slope * level) for level in levels]
    for module in codec.modules():
        if isinstance(module, RateTable):
            module.table.copy_(torch.stack([_table_row(module.table, q, levels) for q in calibrated]))
    return calibrated


def _best_quality(codec: Codec, crops: list[Tensor], level: float) -> float | None:
    """Return the quality of least cost at lmbda_of(level), by a parabola; None if it lies beyond those tried."""
    tried = [level + offset for offset in QUALITY_OFFSETS if QUALITY_FIRST <= level + offset <= QUALITY_LAST]
    costs = [_cost(codec, crops, q, lmbda_of(level)) for q in tried]
    least = int(np.argmin(costs))
    if not 0 < least < len(tried) - 1:
        return None
    near = slice(least - 1, least + 2)
    second, first, _ = np.polyfit(tried[near], costs[near], 2)
    return float(-first / (2 * second))


def _cost(codec: Codec, crops: list[Tensor], quality: float, lmbda: float) -> float:
    """Return the mean bpp + lmbda * distortion of rounded latents, bpp as the model estimates it."""
    level = torch.tensor([float(quality)], device=next(codec.parameters()).device)
    total = 0.0
    for x in crops:
        x = x.to(level.device)
        out = codec.evaluate(plain_latents(codec, x, level), level)
        distortion = image_distortion(out.x_hat.clamp(0, 1), x, codec.config.distortion)
        total += float((out.y_bits + out.z_bits) / (x.shape[2] * x.shape[3]) + lmbda * distortion)
    return total / len(crops)


def _table_row(table: Tensor, quality: float, levels: NDArray[np.float64]) -> Tensor:
    """Return the row of a rate table (levels, C) at a quality, extrapolated linearly beyond its ends."""
    low = int(np.clip(np.searchsorted(levels, quality) - 1, 0, len(levels) - 2))
    weight = (quality - levels[low]) / (levels[low + 1] - levels[low])
    return torch.lerp(table[low], table[low + 1], weight)


def _centre_crop(photo: Samples) -> Tensor:
    """Return the middle of a photo, (1, 3, h, w) in [0, 1], sides multiples of 64 and at most `CROP_PX`."""
    height, width = (min(CROP_PX, length // STRIDE * STRIDE) for length in photo.shape[:2])
    top, left = (photo.shape[0] - height) // 2, (photo.shape[1] - width) // 2
    square = np.ascontiguousarray(photo[top : top + height, left : left + width])
    return torch.from_numpy(square).permute(2, 0, 1)[None] / 255
