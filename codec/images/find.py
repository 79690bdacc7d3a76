"""Finding image files below a folder, by content or by name."""

import os
from collections.abc import Callable
from pathlib import Path

from codec.errors import ConfigError
from codec.images.read import is_image

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".ppm", ".pgm", ".pnm", ".jp2", ".avif"}
    | {
        ".heic",
        ".heif",
        ".jxl",
        ".dng",
        ".nef",
        ".cr2",
        ".cr3",
        ".arw",
        ".raf",
        ".orf",
        ".rw2",
    }  # by the extra `formats`
)


def find_images(folder: Path, exclude: Path | None = None) -> list[Path]:
    """Return every file below `folder` that is a picture by content or by the suffix of its name, sorted.

    Hidden files and folders, and all below `exclude`, are left out; links to folders are not followed.

    Raises:
        ConfigError: there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder")
    skip = exclude.resolve() if exclude is not None else None
    if skip is not None and folder.resolve().is_relative_to(skip):
        return []
    return find_files(folder, lambda path: path.suffix.lower() in SUFFIXES or is_image(path), skip)


def find_files(folder: Path, wanted: Callable[[Path], bool], skip: Path | None = None) -> list[Path]:
    """Return every file below `folder` for which `wanted` is true, sorted.

    Hidden files and folders, and all below the resolved `skip`, are left out; links to folders are not followed. A
    folder that may not be opened is listed itself, so that the attempt to read it reports the error.
    """
    found: list[Path] = []
    closed: list[OSError] = []
    for parent, folders, files in os.walk(folder, onerror=closed.append):
        own = Path(parent)
        folders[:] = [name for name in folders if not name.startswith(".") and (own / name).resolve() != skip]
        paths = [own / name for name in files if not name.startswith(".")]
        found += [path for path in paths if _may_be_file(path) and wanted(path)]
    return sorted(found + [Path(error.filename) for error in closed])


def _may_be_file(path: Path) -> bool:
    """Return whether `path` is a regular file, or may be one: its folder can be listed but not entered."""
    try:
        return path.is_file()
    except OSError:
        return True
