"""The photographs of a study: found once, told apart by content, some of them kept from the search.

Which ones are held out depends on their content alone, so that a study that is resumed, or run on a copy of the folder,
never tunes on what it will be judged by.
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
    """One photograph: the file that is encoded, the SHA-256 of its content, and its size."""

    path: Path
    sha256: str
    pixels: int


def find_photos(inputs: list[str], output: Path, failed: Callable[[Path, str], None]) -> list[Photo]:
    """Every photograph of the named files and folders, each content once, in the order of their hashes.

    Args:
        output: the study's own folder, in which none is looked for.
        failed: called with each that may not be opened, and the reason.

    Raises:
        ConfigError: there is none.
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
    """Photos to tune on, and the share that is held out; where there are two or more, neither is empty.

    Raises:
        ConfigError: a single photo cannot be both.
    """
    if not held_out:
        return photos, []
    if len(photos) < 2:
        raise ConfigError(f"{photos[0].path}: one photo cannot be tuned on and held out: name more, or --holdout 0")
    count = min(max(round(held_out * len(photos)), 1), len(photos) - 1)
    return photos[:-count], photos[-count:]


def prepare(
    photos: list[Photo], crop: int | None, policy: ImagePolicy, folder: Path, failed: Callable[[Path, str], None]
) -> list[Photo]:
    """What is encoded in place of each photo: itself, or its middle `crop` px as a PNG in `folder`.

    Those that cannot be read are left out and handed to `failed`, with the reason.
    """
    found = []
    for photo in photos:
        try:
            found.append(_checked(photo, policy) if crop is None else _cut(photo, crop, policy, folder))
        except ImageError as error:
            failed(photo.path, str(error))
    return found


def _checked(photo: Photo, policy: ImagePolicy) -> Photo:
    read_image(photo.path, policy)
    return photo


def _cut(photo: Photo, crop: int, policy: ImagePolicy, folder: Path) -> Photo:
    """The middle of a photo; its file's name tells the content, so one that exists is that file."""
    path = folder / f"{photo.path.stem[:60]}-{photo.sha256[:8]}-{crop}-{policy.alpha}.png"
    if not path.is_file():
        data = write_png(_middle(read_image(photo.path, policy), crop))
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)
    return _photo(path)


def _photo(path: Path) -> Photo:
    width, height = image_size(path) or (0, 0)
    return Photo(path, hashlib.sha256(path.read_bytes()).hexdigest(), width * height)


def _middle(pixels: Pixels, side: int) -> Pixels:
    """At most side x side px."""
    top, left = (max(0, (size - side) // 2) for size in (pixels.height, pixels.width))
    return Pixels(np.ascontiguousarray(pixels.data[top : top + side, left : left + side]), pixels.grey)
