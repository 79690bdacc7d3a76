"""Photos of a study: found, identified by content, cropped, and split into those to tune on and those held out.

The split depends on the photos' content alone, so that a study that is resumed, or run on a copy of the folder, never
tunes on the photos it is evaluated on.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from codec.errors import ConfigError, ImageError
from codec.files import write_atomically
from codec.images.formats import write_png
from codec.images.pixels import Pixels
from codec.images.read import ImagePolicy, image_size, read_image
from jobs.running.worklist import named_pictures


class Photo(NamedTuple):
    """File that is encoded, the SHA-256 of its content, and its number of pixels."""

    path: Path
    sha256: str
    pixels: int


def find_photos(inputs: list[str], output: Path, failed: Callable[[Path, str], None]) -> list[Photo]:
    """Find the photos of the named files and folders, equal ones once, sorted by hash.

    Args:
        inputs: files and folders.
        output: the study's own folder, which is not searched.
        failed: called with the path of each photo that may not be opened, and the reason.

    Raises:
        ConfigError: there is no photo that can be opened.
    """
    paths = [path for name in inputs for path, _ in named_pictures(Path(name), output)]
    if not paths:
        raise ConfigError(f"{', '.join(inputs)}: no pictures found")
    found: dict[str, Photo] = {}
    for path in paths:
        try:
            photo = _photo(path)
            found[photo.sha256] = photo
        except OSError as error:
            failed(path, f"{error.strerror}: check the path and its permissions")
    if not found:
        raise ConfigError(f"{', '.join(inputs)}: none of the pictures may be opened")
    return [found[sha256] for sha256 in sorted(found)]


def split(photos: list[Photo], held_out: float) -> tuple[list[Photo], list[Photo]]:
    """Split photos into those to tune on and the share `held_out`; of two or more photos, neither part is empty.

    Args:
        photos: sorted by hash.
        held_out: share in [0, 1); 0 holds out none.

    Raises:
        ConfigError: a single photo cannot be in both parts.
    """
    if not held_out:
        return photos, []
    if len(photos) < 2:
        raise ConfigError(f"{photos[0].path}: one photo cannot be tuned on and held out: name more, or --holdout 0")
    count = min(max(round(held_out * len(photos)), 1), len(photos) - 1)
    return photos[:-count], photos[-count:]


def prepare(
    photos: list[Photo], *, crop: int | None, policy: ImagePolicy, folder: Path, failed: Callable[[Path, str], None]
) -> list[Photo]:
    """Return the photos themselves, or their central crops as PNG files in `folder`.

    Args:
        photos: photos of any size.
        crop: side of the crop in pixels; None takes whole photos.
        policy: conversion to 8-bit RGB.
        folder: where crops are written; those already there are kept.
        failed: called with the path of each photo that cannot be read, and the reason; it is left out.
    """
    found = []
    for photo in photos:
        try:
            found.append(_readable(photo, policy) if crop is None else _cropped(photo, crop, policy, folder))
        except ImageError as error:
            failed(photo.path, str(error))
    return found


def _readable(photo: Photo, policy: ImagePolicy) -> Photo:
    read_image(photo.path, policy)
    return photo


def _cropped(photo: Photo, crop: int, policy: ImagePolicy, folder: Path) -> Photo:
    """Write a photo's central crop, unless there is a file of its name, which names the content and the policy."""
    path = folder / f"{photo.path.stem[:60]}-{photo.sha256[:8]}-{crop}-{policy.alpha}.png"
    if not path.is_file():
        data = write_png(_center_crop(read_image(photo.path, policy), crop))
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    return _photo(path)


def _photo(path: Path) -> Photo:
    width, height = image_size(path) or (0, 0)
    return Photo(path, hashlib.sha256(path.read_bytes()).hexdigest(), width * height)


def _center_crop(pixels: Pixels, side: int) -> Pixels:
    """Cut out the centre, at most side x side px."""
    top, left = (max(0, (size - side) // 2) for size in (pixels.height, pixels.width))
    return Pixels(np.ascontiguousarray(pixels.data[top : top + side, left : left + side]), pixels.grey)
