"""Crops from a folder too large for memory: a window of decoded photographs that slides over a shuffled list.

The window at a step is a pure function of (seed, step), so a resumed run fills the same one and draws the same crops.
Photos ahead of it are decoded in threads while the device works.
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
from codec.training.dataset import draw_crops, read_photo, send

CROPS_A_PHOTO = 8  # about as many are taken from each photo before it leaves the window
AHEAD = 0.25  # of the window, decoded in advance


class Stream:
    """A `CropSource` that holds at most 1.25 * `window` photos.

    Args:
        folder: searched for photos once; unreadable ones and those too small for a crop are passed over.
        window: decoded photos to choose from at any step.

    Raises:
        ConfigError: the folder does not exist or holds no picture.
    """

    def __init__(self, folder: Path, window: int, device: torch.device) -> None:
        self.paths, self.device = find_images(folder), device
        if not self.paths:
            raise ConfigError(f"{folder}: no photo: name a folder of photographs")
        self.window = min(window, len(self.paths))
        self.pool = ThreadPoolExecutor(max_workers=torch.get_num_threads())
        self.decoded: dict[int, Future[Samples | None]] = {}

    def close(self) -> None:
        """Give up what is still to be decoded; else the process would end only after it."""
        self.pool.shutdown(wait=False, cancel_futures=True)

    def crops(self, size: int, batch: int, seed: int, step: int, share: slice) -> Tensor:
        """See `CropSource`."""
        photos = self._photos(step * batch // CROPS_A_PHOTO, seed, size)
        sides = np.array([p.shape[:2] for p in photos], dtype=np.int64).reshape(-1, 2)
        cut = []
        for draw in draw_crops(sides, size, batch, np.random.default_rng((seed, step)))[share]:
            crop = photos[draw.photo][draw.row : draw.row + size, draw.col : draw.col + size]
            crop = crop[:, ::-1] if draw.mirror else crop
            cut.append(crop.transpose(1, 0, 2) if draw.transpose else crop)
        return send(torch.from_numpy(np.stack(cut)), self.device).permute(0, 3, 1, 2)  # channels last in memory

    def _photos(self, first: int, seed: int, size: int) -> list[Samples]:
        """Those of the `window` photos from `first` on in the endless shuffled list that a crop fits into.

        If it fits into none, the next in the list that it fits into. What lies elsewhere is forgotten.
        """
        end = first + self.window
        last = end + math.ceil(AHEAD * self.window)
        for at in [at for at in self.decoded if not first <= at < last]:
            self.decoded.pop(at).cancel()
        for at in range(first, last):
            self._ask(at, seed)
        found = [photo for at in range(first, end) if _fits(photo := self._ask(at, seed).result(), size)]
        for at in range(end, end + 2 * len(self.paths)):  # two shuffles, so that none is missed
            if found:
                break
            found = [photo for photo in [self._ask(at, seed).result()] if _fits(photo, size)]
            if not found and at >= last:
                del self.decoded[at]
        return [photo for photo in found if photo is not None]

    def _ask(self, at: int, seed: int) -> Future[Samples | None]:
        if at not in self.decoded:
            self.decoded[at] = self.pool.submit(read_photo, self.paths[_place(at, seed, len(self.paths))])
        return self.decoded[at]


def _fits(photo: Samples | None, size: int) -> bool:
    return photo is not None and min(photo.shape[:2]) >= size


def _place(at: int, seed: int, count: int) -> int:
    """Which of `count` paths stands at place `at` of the list: each round is a shuffle of its own."""
    turn, place = divmod(at, count)
    return int(_shuffle(seed, turn, count)[place])


@lru_cache(maxsize=2)
def _shuffle(seed: int, turn: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, turn, 2)).permutation(count)
