"""Pictures in memory: 8-bit pixels, float tensors for a model, and the padding of those tensors."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Samples = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Pixels:
    """Decoded picture: `data` is uint8 sRGB (H, W, 3); if `grey`, its three channels are equal."""

    data: Samples
    grey: bool

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.data.shape[0]

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.data.shape[1]


def to_tensor(pixels: Pixels) -> Tensor:
    """Convert pixels to a model's input, float32 (1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(pixels.data.transpose(2, 0, 1).copy())[None].float().div_(255)  # (H, W, 3) -> (1, 3, H, W)


def from_tensor(x: Tensor, grey: bool) -> Pixels:
    """Round `x` (1, 3, H, W), clamped to [0, 1], to 8-bit pixels; if `grey`, the mean of its channels."""
    assert x.shape[:-2] == (1, 3), f"expected (1, 3, H, W), got {tuple(x.shape)}"
    levels = x.detach()[0].float().clamp(0, 1) * 255  # (3, H, W)
    if grey:
        levels = levels.mean(dim=0, keepdim=True).expand(3, -1, -1)
    data = levels.round().to(torch.uint8).permute(1, 2, 0)  # (3, H, W) -> (H, W, 3)
    return Pixels(data.contiguous().cpu().numpy(), grey)


def pad(x: Tensor, multiple: int) -> Tensor:
    """Pad `x` (B, 3, H, W) to sides that are multiples of `multiple`, repeating the last column and row.

    `crop` to the original height and width undoes it.
    """
    height, width = x.shape[-2:]
    return torch.nn.functional.pad(x, (0, -width % multiple, 0, -height % multiple), mode="replicate")


def crop(x: Tensor, height: int, width: int) -> Tensor:
    """Return the top left `height` x `width` pixels of `x` (B, 3, H, W)."""
    return x[..., :height, :width]
