"""Crops of a folder too large for memory: a window of decoded photos that slides over an endless shuffled list.

Invariant: the window at a step is a pure function of (seed, step), so a resumed run draws the crops of an unbroken one.
Photos ahead of the window are decoded in threads meanwhile.
"""

import math
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from codec.errors import ConfigError
from codec.images.find import find_images
from codec.images.pixels import Samples
from codec.training.dataset import draw_crops, read_photo, to_device

CROPS_PER_PHOTO = 8  # mean number of crops drawn while a photo is in the window
AHEAD_FRACTION = 0.25  # photos decoded in advance, as a fraction of the window


class StreamedCrops:
    """Crop source that keeps at most 1.25 * `window` decoded photos in memory.

    Args:
        folder: searched for photos once; unreadable ones and those too small for a crop are passed over.
        window: number of photos that the crops of a step are drawn from.

    Raises:
        ConfigError: the folder does not exist or holds no picture.
    """

    def __init__(self, folder: Path, window: int, device: torch.device) -> None:
        self.paths, self.device = find_images(folder), device
        if not self.paths:
            raise ConfigError(f"{folder}: no photo: name a folder of photographs")
        self.window = min(window, len(self.paths))
        self.pool = ThreadPoolExecutor(max_workers=torch.get_num_threads())
        self.futures: dict[int, Future[Samples | None]] = {}

    def close(self) -> None:
        """Cancel pending decoding, which the process would otherwise wait for before it exits."""
        self.pool.shutdown(wait=False, cancel_futures=True)

    def crops(self, size: int, batch: int, seed: int, step: int, share: slice) -> Tensor:
        """Cut the rows `share` of a step's crops and copy them to the device, uint8 (b, 3, size, size)."""
        photos = self._window_photos(step * batch // CROPS_PER_PHOTO, seed, size)
        sides = np.array([p.shape[:2] for p in photos], dtype=np.int64).reshape(-1, 2)
        cut = []
        for draw in draw_crops(sides, size, batch, np.random.default_rng((seed, step)))[share]:
            crop = photos[draw.photo][draw.row : draw.row + size, draw.col : draw.col + size]
            crop = crop[:, ::-1] if draw.mirror else crop
            cut.append(crop.transpose(1, 0, 2) if draw.transpose else crop)
        return to_device(torch.from_numpy(np.stack(cut)), self.device).permute(0, 3, 1, 2)  # channels last in memory

    def _window_photos(self, first: int, seed: int, size: int) -> list[Samples]:
        """Return the photos of the window that starts at position `first` of the list and that are large enough.

        If none is, the next large enough photo of the list. Photos elsewhere are dropped from memory.
        """
        end = first + self.window
        decoded_end = end + math.ceil(AHEAD_FRACTION * self.window)
        for position in [p for p in self.futures if not first <= p < decoded_end]:
            self.futures.pop(position).cancel()
        for position in range(first, decoded_end):
            self._photo_future(position, seed)
        window = (self._photo_future(position, seed).result() for position in range(first, end))
        found = [photo for photo in window if _fits(photo, size)]
        for position in range(end, end + 2 * len(self.paths)):  # two shuffles, so that none is missed
            if found:
                break
            found = [photo for photo in [self._photo_future(position, seed).result()] if _fits(photo, size)]
            if not found and position >= decoded_end:
                del self.futures[position]
        return [photo for photo in found if photo is not None]

    def _photo_future(self, position: int, seed: int) -> Future[Samples | None]:
        """Return the photo at a position of the list as a future; its decoding is submitted on the first call."""
        if position not in self.futures:
            path = self.paths[_shuffled_index(position, seed, len(self.paths))]
            self.futures[position] = self.pool.submit(read_photo, path)
        return self.futures[position]


def _fits(photo: Samples | None, size: int) -> bool:
    """Return whether a photo was readable and holds a crop of `size` x `size` pixels."""
    return photo is not None and min(photo.shape[:2]) >= size


def _shuffled_index(position: int, seed: int, count: int) -> int:
    """Return the index, below `count`, of the path at a position of the list, which reshuffles after each round."""
    turn, place = divmod(position, count)
    return int(_shuffle(seed, turn, count)[place])


@lru_cache(maxsize=2)
def _shuffle(seed: int, turn: int, count: int) -> NDArray[np.int64]:
    """Return the order of `count` paths in round `turn` of the list."""
    return np.random.default_rng((seed, turn, 2)).permutation(count)
