"""Batches that mix photographs with procedural pictures, and with photographs under extreme changes of colour.

Invariant: which rows of a step's batch become what is a function of (seed, step), so resumed runs draw the crops of
unbroken ones, and processes take their shares of one common batch. Photographs that stay are those of a run without any
mix.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec.training.dataset import CropSource, DeviceCrops, draw_crops, to_device
from codec.training.graphics import draw_sheets
from codec.training.schedule import TrainConfig

SHEETS = 504  # procedural pictures of a run, of each kind as many; drawn in 11 s on one core
SHEET_PX = 512  # their side, unless crops are larger
ALL_LEVELS = 256.0  # levels of a channel that is not posterised
LUMA = np.array([0.299, 0.587, 0.114])
GREY = np.ones((3, 3)) / 3


class MixedCrops:
    """Crop source that replaces some rows of a batch of photographs.

    Args:
        photos: source of all other rows.
        graphics: procedural pictures on the same device.
        graphics_share, recolour_share: fraction of the rows, 0..1, cut from `graphics`, and of photographs with other
            colours; their sum is at most 1. A batch holds the whole numbers next to a fraction in turn.
    """

    def __init__(self, photos: CropSource, graphics: DeviceCrops, graphics_share: float, recolour_share: float) -> None:
        self.photos, self.graphics = photos, graphics
        self.graphics_share, self.recolour_share = graphics_share, recolour_share

    def crops(self, size: int, batch: int, seed: int, step: int, share: slice) -> Tensor:
        """Return the rows `share` of a step's crops, uint8 (b, 3, size, size) on the device."""
        rng = np.random.default_rng((seed, step, 5))
        order = rng.permutation(batch)
        graphics, recoloured = (_count(part * batch, rng) for part in (self.graphics_share, self.recolour_share))
        draws = draw_crops(self.graphics.sides, size, graphics, rng) if graphics else []
        changes = draw_changes(recoloured, rng)
        x = self.photos.crops(size, batch, seed, step, share)
        place = {row: position for position, row in enumerate(range(batch)[share])}  # of a row of the batch in x
        own = [(place[row], draw) for row, draw in zip(order, draws, strict=False) if row in place]
        if own:
            x[_rows([position for position, _ in own], x)] = self.graphics.cut([draw for _, draw in own], size)
        after = zip(order[graphics:], changes, strict=False)
        if own_changes := [(place[row], change) for row, change in after if row in place]:
            rows = _rows([position for position, _ in own_changes], x)
            table = torch.from_numpy(np.array([change for _, change in own_changes])).float()
            x[rows] = change_colours(x[rows], to_device(table, x.device))
        return x

    def close(self) -> None:
        """Close the source of photographs."""
        self.photos.close()


def mixed_source(photos: CropSource, config: TrainConfig, device: torch.device) -> CropSource:
    """Return the source of a schedule's crops: `photos` itself, or mixed as `config` says with sheets drawn here."""
    if not config.graphics_share and not config.recolour_share:
        return photos
    count = SHEETS if config.graphics_share else 1
    graphics = DeviceCrops(draw_sheets(count, max(SHEET_PX, *config.crops), config.seed), device)
    return MixedCrops(photos, graphics, config.graphics_share, config.recolour_share)


def draw_changes(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw extreme changes of colour, (count, 14): a matrix by rows, an offset, a gamma and a number of levels.

    The matrix permutes channels, inverts some, turns the hue by any angle and scales the saturation by up to 5; gamma
    lies in 0.3..3; a third of the pictures is posterised to 2 to 8 levels a channel.
    """
    changes = np.empty((count, 14))
    for row in changes:
        signs = np.where(rng.random(3) < 0.25, -1.0, 1.0)
        matrix = np.eye(3)[rng.permutation(3)] * signs[:, None]
        offset = (1 - signs) / 2  # an inverted channel is 1 - v
        if rng.random() < 0.6:
            change = _saturation(rng.choice([0.0, 2.0, 5.0, rng.uniform(0, 3)])) @ _hue(rng.uniform(0, 2 * np.pi))
            matrix, offset = change @ matrix, change @ offset
        gamma = np.exp(rng.uniform(-1.1, 1.1)) if rng.random() < 0.5 else 1.0
        levels = float(rng.integers(2, 9)) if rng.random() < 1 / 3 else ALL_LEVELS
        row[:] = [*matrix.ravel(), *offset, gamma, levels]
    return changes


def change_colours(x: Tensor, changes: Tensor) -> Tensor:
    """Apply `changes` (B, 14), of `draw_changes`, to uint8 crops x (B, 3, H, W); returns uint8, channels last."""
    matrix, offset, gamma, levels = changes.split((9, 3, 1, 1), 1)
    pixels = x.permute(0, 2, 3, 1).flatten(1, 2).float() / 255  # (B, H * W, 3)
    pixels = torch.baddbmm(offset[:, None], pixels, matrix.unflatten(1, (3, 3)).mT).clamp(0, 1)
    pixels = pixels ** gamma[..., None]
    top = levels[..., None] - 1
    pixels = ((pixels * top).round() / top * 255).round().to(torch.uint8)
    return pixels.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


def _rows(positions: list[int], x: Tensor) -> Tensor:
    """Return positions as an index on the device of x."""
    return to_device(torch.tensor(positions), x.device)


def _count(expected: float, rng: np.random.Generator) -> int:
    """Draw one of the two whole numbers next to `expected`, which is their mean."""
    return int(expected + rng.random())


def _saturation(factor: float) -> NDArray[np.float64]:
    """Return the matrix that scales differences from a colour's luma by a factor; 0 gives greys."""
    return factor * np.eye(3) + (1 - factor) * LUMA[None].repeat(3, 0)


def _hue(angle: float) -> NDArray[np.float64]:
    """Return the rotation by an angle about the axis of greys (Rodrigues' formula)."""
    across = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / 3**0.5
    return np.cos(angle) * np.eye(3) + (1 - np.cos(angle)) * GREY + np.sin(angle) * across
