"""Frequency bands of a picture as Butteraugli sees them: opsin colours of an adapted eye, split by Gaussians.

Source: Jyrki Alakuijala et al., libjxl 0.7 (github.com/libjxl/libjxl, lib/jxl/butteraugli), whose constants these are.
"""

from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

NITS = 80.0  # of white
SIGMA_SURROUND, SIGMA_LOW, SIGMA_HIGH, SIGMA_ULTRA, SIGMA_MASK = 1.2, 7.15593339443, 3.22489901262, 1.56416327805, 2.7

OPSIN = (
    (0.29956550340058319, 0.63373087833825936, 0.077705617820981968),
    (0.22158691104574774, 0.69391388044116142, 0.0987313588422),
    (0.02, 0.02, 0.20480129041026129),
)
OPSIN_BIAS = (1.7557483643287353, 1.7557483643287353, 12.226454707163354)
GAMMA_SCALE, GAMMA_BIAS, GAMMA_OFFSET = 19.245013259874995, 9.9710635769299145, -23.16046239805755

LOW_SCALES, LOW_Y_TO_B = (32.2217497012, 13.7697791434, 47.504615728), -0.362267051518
MIDDLE_X_REMOVED, MIDDLE_Y_AMPLIFIED = 0.29, 0.1
SUPPRESSION, SUPPRESSION_MIN = 46.0, 0.653020556257  # of high frequencies of X by those of Y
HIGH_X_REMOVED, HIGH_Y_AMPLIFIED, HIGH_Y_SCALE, HIGH_Y_KNEE = 1.5, 0.132, 2.155, 28.4691806922
ULTRA_X_REMOVED, ULTRA_Y_SCALE, ULTRA_Y_KNEE, KNEE_SLOPE = 0.04, 2.69313763794, 5.19175294647, 0.724216145665

MASK_X, MASK_ULTRA_Y, MASK_HIGH_Y = 2.5, 0.4, 0.4
MASK_SCALE, MASK_BIAS = 6.19424080439, 12.61050594197


class Bands(NamedTuple):
    """Frequencies of a picture: low (B, 3, H, W), middle (B, 3, H, W), high and ultra-high (B, 2, H, W), activity."""

    low: Tensor
    middle: Tensor
    high: Tensor
    ultra: Tensor
    activity: Tensor


def bands(light: Tensor) -> Bands:
    """Separate the frequencies of linear light (B, 3, H, W) in [0, 1]."""
    xyb = opsin(light)
    low = blur(xyb, SIGMA_LOW)
    rest = xyb - low
    middle = blur(rest, SIGMA_HIGH)
    high_x, high_y = (rest - middle)[:, :2].unbind(1)
    high_x = high_x * (SUPPRESSION_MIN + (1 - SUPPRESSION_MIN) * SUPPRESSION / (high_y.square() + SUPPRESSION))
    both = torch.stack([high_x, high_y], 1)
    smooth_x, smooth_y = blur(both, SIGMA_ULTRA).unbind(1)
    smooth_y = _knee(smooth_y, HIGH_Y_KNEE)
    ultra_x, ultra_y = high_x - smooth_x, ULTRA_Y_SCALE * _knee(high_y - smooth_y, ULTRA_Y_KNEE)
    high = torch.stack(
        [F.softshrink(smooth_x, HIGH_X_REMOVED), _amplified(HIGH_Y_SCALE * smooth_y, HIGH_Y_AMPLIFIED)], 1
    )
    ultra = torch.stack([F.softshrink(ultra_x, ULTRA_X_REMOVED), ultra_y], 1)
    x, y, b = middle.unbind(1)
    middle = torch.stack([F.softshrink(x, MIDDLE_X_REMOVED), _amplified(y, MIDDLE_Y_AMPLIFIED), b], 1)
    x, y, b = low.unbind(1)
    low = torch.stack([LOW_SCALES[0] * x, LOW_SCALES[1] * y, LOW_SCALES[2] * (b + LOW_Y_TO_B * y)], 1)
    return Bands(low, middle, high, ultra, _activity(high, ultra))


@cache
def constant(values: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return numbers as a tensor, copied to the device once: a step that is recorded there may copy nothing."""
    return torch.tensor(values, dtype=dtype, device=device)


def opsin(light: Tensor) -> Tensor:
    """Turn linear light (B, 3, H, W) in [0, 1] into X, Y and B of an eye adapted to the surroundings of each pixel."""
    matrix = constant(OPSIN, light.dtype, light.device)[:, :, None, None]
    bias = constant(OPSIN_BIAS, light.dtype, light.device)
    least = bias[:, None, None]
    surround = F.conv2d(NITS * blur(light, SIGMA_SURROUND), matrix, bias).maximum(least)
    sensitivity = (GAMMA_SCALE * (surround + GAMMA_BIAS).log() + GAMMA_OFFSET) / surround
    long, middle, short = (F.conv2d(NITS * light, matrix, bias) * sensitivity).maximum(least).unbind(1)
    return torch.stack([long - middle, long + middle, short], 1)


class Blur(torch.autograd.Function):
    """Average of planes under a Gaussian cut off at 2.25 sigma; at the edges under what of it is inside.

    The convolution K is symmetric and the masses D of the window inside are diagonal: D^-1 K forth, K D^-1 back, which
    on a CPU is ten times as fast as what autograd makes of a convolution of single channels.
    """

    @staticmethod
    def forward(ctx: Any, planes: Tensor, sigma: float) -> Tensor:
        """Convolve planes (B, C, H, W), then divide."""
        ctx.sigma = sigma
        window = _window(planes, sigma)
        return _convolve(planes, window) / _mass(window, planes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Divide the gradient, then convolve."""
        window = _window(gradient, ctx.sigma)
        return _convolve(gradient / _mass(window, gradient), window), None


def blur(planes: Tensor, sigma: float) -> Tensor:
    """Average planes (B, C, H, W) under a Gaussian, differentiable."""
    return Blur.apply(planes, sigma)


def _window(like: Tensor, sigma: float) -> Tensor:
    radius = max(1, int(2.25 * sigma))
    at = torch.arange(-radius, radius + 1, device=like.device, dtype=like.dtype)
    return torch.softmax(-at.square() / (2 * sigma**2), 0)


def _convolve(planes: Tensor, window: Tensor) -> Tensor:
    """Convolve planes (B, C, H, W), 0 beyond their edges, along rows and columns."""
    channels, radius = planes.shape[1], len(window) // 2
    kernel = window.expand(channels, 1, 1, -1)
    planes = planes.contiguous(memory_format=torch.channels_last)
    planes = F.conv2d(planes, kernel, padding=(0, radius), groups=channels)
    return F.conv2d(planes, kernel.mT, padding=(radius, 0), groups=channels)


def _mass(window: Tensor, planes: Tensor) -> Tensor:
    """Mass (H, W) of the window that lies inside the picture at each pixel."""
    rows, columns = (
        F.conv1d(window.new_ones(1, 1, length), window[None, None], padding=len(window) // 2)[0, 0]
        for length in planes.shape[-2:]
    )
    return rows[:, None] * columns


def _knee(x: Tensor, limit: float) -> Tensor:
    """Flatten what is beyond +-limit."""
    return x - (1 - KNEE_SLOPE) * F.softshrink(x, limit)


def _amplified(x: Tensor, limit: float) -> Tensor:
    """Double values up to +-limit, and add as much to those beyond."""
    return x + x.clamp(-limit, limit)


def _activity(high: Tensor, ultra: Tensor) -> Tensor:
    """Blurred activity (B, H, W) that hides errors."""
    x, y = MASK_X * (ultra[:, 0] + high[:, 0]), MASK_ULTRA_Y * ultra[:, 1] + MASK_HIGH_Y * high[:, 1]
    amplitude = (x.square() + y.square() + 1e-12).sqrt()
    flattened = MASK_SCALE**0.5 * ((amplitude + MASK_BIAS).sqrt() - MASK_BIAS**0.5)
    return blur(flattened[:, None], SIGMA_MASK)[:, 0]
