"""Training photographs: decoded once, kept in memory as uint8, cropped and flipped at random.

Every batch is a pure function of (seed, step), so a resumed run draws what an unbroken one would have drawn.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from codec.errors import ConfigError, ImageError
from codec.folders import find_images
from codec.image import ImagePolicy, read_image
from codec.pixels import Samples

POLICY = ImagePolicy(alpha="blend", depth=8, first_frame=True)


def load_photos(folder: Path, smallest: int, quiet: bool = True) -> list[Samples]:
    """Photos of a folder as uint8 (H, W, 3); those unreadable or with a side below `smallest` are left out.

    Raises:
        ConfigError: the folder does not exist or holds no usable photo.
    """
    paths = find_images(folder)

    def read(path: Path) -> Samples | None:
        try:
            return read_image(path, POLICY).data
        except ImageError:
            return None

    with ThreadPoolExecutor(max_workers=torch.get_num_threads()) as pool:
        decoded = list(tqdm(pool.map(read, paths), total=len(paths), desc="photos", disable=quiet))
    photos = [p for p in decoded if p is not None and min(p.shape[:2]) >= smallest]
    if not photos:
        raise ConfigError(f"{folder}: no photo with sides of at least {smallest} pixels; name a folder of photographs")
    return photos


def crop_batch(photos: list[Samples], size: int, batch: int, rng: np.random.Generator) -> Tensor:
    """Random square crops, each flipped and transposed at random: uint8 (B, 3, size, size)."""
    weights = np.array([p.shape[0] * p.shape[1] for p in photos], dtype=np.float64)
    crops = []
    for index in rng.choice(len(photos), size=batch, p=weights / weights.sum()):
        photo = photos[index]
        row, col = (int(rng.integers(0, side - size + 1)) for side in photo.shape[:2])
        crop = photo[row : row + size, col : col + size]
        if rng.random() < 0.5:
            crop = crop[:, ::-1]
        if rng.random() < 0.5:
            crop = crop.transpose(1, 0, 2)
        crops.append(crop)
    return torch.from_numpy(np.ascontiguousarray(np.stack(crops).transpose(0, 3, 1, 2)))


def crop_stream(photos: list[Samples], size: int, batch: int, seed: int, step: int) -> Iterator[Tensor]:
    """Batches for `step`, `step + 1`, ...; each drawn one ahead in a thread, so that training never waits for it."""

    def draw(at: int) -> Tensor:
        return crop_batch(photos, size, batch, np.random.default_rng((seed, at)))

    with ThreadPoolExecutor(max_workers=1) as pool:
        ready = pool.submit(draw, step)
        while True:
            step += 1
            ahead = pool.submit(draw, step)
            yield ready.result()
            ready = ahead
