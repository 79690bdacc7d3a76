"""Training photographs: decoded once, kept on the training device as uint8, cropped, mirrored and transposed there.

Invariant: a batch is a pure function of (seed, step), so a resumed run draws the crops of an unbroken one, and the
processes of a parallel run take their shares of one common batch.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from codec.errors import ConfigError, ImageError
from codec.images.find import find_images
from codec.images.pixels import Samples
from codec.images.read import ImagePolicy, read_image

PHOTO_POLICY = ImagePolicy(alpha="blend", depth=8, first_frame=True)


class CropSource(Protocol):
    """Source of a trainer's crops."""

    def crops(self, size: int, batch: int, seed: int, step: int, share: slice) -> Tensor:
        """Return the rows `share` of the `batch` crops of a step, uint8 (b, 3, size, size) on the training device."""
        ...

    def close(self) -> None:
        """Stop what reads photos in the background."""
        ...


class Draw(NamedTuple):
    """Random crop: index of its photo, its top left pixel there, and whether it is mirrored and transposed."""

    photo: int
    row: int
    col: int
    mirror: bool
    transpose: bool


def draw_crops(sides: NDArray[np.int64], size: int, batch: int, rng: np.random.Generator) -> list[Draw]:
    """Draw random crops of `size` x `size` pixels from photos with `sides` (N, 2), height and width.

    Photos are drawn in proportion to their area; those too small for a crop never are.

    Raises:
        ConfigError: no photo has both sides of at least `size`.
    """
    weights = sides.prod(1) * (sides.min(1) >= size).astype(np.float64)
    if not weights.any():
        raise ConfigError(f"no photo with sides of at least {size} pixels: name other photographs or a smaller --crop")
    draws = []
    for index in rng.choice(len(sides), size=batch, p=weights / weights.sum()):
        row, col = (int(rng.integers(0, side - size + 1)) for side in sides[index])
        draws.append(Draw(int(index), row, col, bool(rng.random() < 0.5), bool(rng.random() < 0.5)))
    return draws


class DeviceCrops:
    """Crop source that holds all photos, uint8 (H, W, 3), as one array of pixels on `device`."""

    def __init__(self, photos: list[Samples], device: torch.device) -> None:
        self.sides = np.array([photo.shape[:2] for photo in photos], dtype=np.int64)
        self.starts = np.concatenate([[0], self.sides.prod(1).cumsum()[:-1]])
        pixels = torch.empty(int(self.sides.prod(1).sum()), 3, dtype=torch.uint8)
        for start, photo in zip(self.starts, photos, strict=True):
            pixels[start : start + photo.shape[0] * photo.shape[1]] = torch.tensor(photo).flatten(0, 1)
        self.pixels = pixels.to(device)

    def crops(self, size: int, batch: int, seed: int, step: int, share: slice) -> Tensor:
        """Gather the rows `share` of a step's crops on the device, uint8 (b, 3, size, size)."""
        return self.cut(draw_crops(self.sides, size, batch, np.random.default_rng((seed, step)))[share], size)

    def cut(self, draws: list[Draw], size: int) -> Tensor:
        """Gather crops drawn from `sides` on the device, uint8 (b, 3, size, size)."""
        # pixel (i, j) of crop b lies at first + i * down + j * along
        plan = torch.tensor([_addresses(d, self.starts[d.photo], self.sides[d.photo, 1], size) for d in draws])
        first, down, along = to_device(plan, self.pixels.device).T[..., None, None]
        steps = torch.arange(size, device=self.pixels.device)
        return self.pixels[first + steps[:, None] * down + steps * along].permute(0, 3, 1, 2)  # channels last in memory

    def close(self) -> None:
        """Do nothing: all photos are decoded."""


def _addresses(draw: Draw, start: int, width: int, size: int) -> tuple[int, int, int]:
    """Return the address of a crop's first pixel, and the strides from row to row and from column to column."""
    first = int(start) + draw.row * int(width) + draw.col
    down, along = int(width), 1
    if draw.mirror:
        first, along = first + size - 1, -1
    return (first, along, down) if draw.transpose else (first, down, along)


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """Copy `x` to `device` without waiting for the copy."""
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)


def read_photo(path: Path) -> Samples | None:
    """Read a photo as uint8 (H, W, 3); None if it is unreadable."""
    try:
        return read_image(path, PHOTO_POLICY).data
    except ImageError:
        return None


def load_photos(
    folder: Path, side_min: int, *, quiet: bool = True, bar: bool = False, limit: int | None = None
) -> list[Samples]:
    """Load the photos of a folder as uint8 (H, W, 3); those unreadable or with a side below `side_min` are left out.

    Args:
        quiet: show no progress bar and no count of the photos left out.
        bar: show a progress bar, on a terminal that can redraw a line.
        limit: load about as many, evenly from the sorted list; None loads all.

    Raises:
        ConfigError: the folder does not exist or holds no usable photo.
    """
    paths = find_images(folder)
    if not paths:
        raise ConfigError(f"{folder}: no pictures found")
    paths = paths[:: max(1, len(paths) // limit)] if limit else paths
    with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:
        decoded = list(tqdm(pool.map(read_photo, paths), total=len(paths), desc="photos", disable=quiet or not bar))
    readable = [p for p in decoded if p is not None]
    photos = [p for p in readable if min(p.shape[:2]) >= side_min]
    if len(photos) < len(paths) and not quiet:
        left = f"{len(paths) - len(photos)} of {len(paths)} pictures left out"
        print(f"{folder}: {left}: unreadable or with sides below {side_min} pixels", file=sys.stderr)
    if not photos:
        largest = f"the largest has {max(min(p.shape[:2]) for p in readable)}" if readable else "none can be read"
        raise ConfigError(f"{folder}: no photo with sides of at least {side_min} pixels; {largest}")
    return photos
