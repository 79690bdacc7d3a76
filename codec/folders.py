"""Finding pictures below a folder."""

from pathlib import Path

from codec.errors import ConfigError
from codec.image import is_image

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".ppm", ".pgm", ".pnm", ".jp2", ".avif"}
)


def find_images(folder: Path, exclude: Path | None = None) -> list[Path]:
    """Every file below `folder` that is a picture by content or claims to be one by name, sorted.

    Hidden files and folders, and all below `exclude`, are left out; links to folders are not followed.

    Raises:
        ConfigError: there is no such folder.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder")
    skip = exclude.resolve() if exclude is not None else None
    found = []
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or not path.is_file() or (skip is not None and path.resolve().is_relative_to(skip)):
            continue
        if path.suffix.lower() in SUFFIXES or is_image(path):
            found.append(path)
    return found
