"""Pictures to files for users: formats by name and suffix, their quality, and metadata in each format's own place."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from codec.errors import ConfigError, ImageError
from codec.images import exif
from codec.images.colour import convert_by_profile
from codec.images.formats import write_as
from codec.images.metadata import NOTHING, Metadata
from codec.images.pixels import Pixels

QUALITY = 95  # of lossy formats: the loss beside that of the codec is small
_XMP_TAG, _XMP_KEYWORD = 700, "XML:com.adobe.xmp"
_FOLDER_TAGS = (0x8769, 0x8825)  # of EXIF and position
_JPEG_SEGMENT_MAX = 65_533 - 29  # bytes of EXIF or XMP that one segment holds, without the longest of their names


@dataclass(frozen=True)
class OutputFormat:
    """Format to write.

    Attributes:
        kind: Pillow's name of it.
        suffixes: of file names, the usual one first.
        is_lossy: whether it has a quality.
        options: that it is written with.
        plugin: module that makes Pillow write it.
        holds: parts of `Metadata` that have a place in it.
    """

    kind: str
    suffixes: tuple[str, ...]
    is_lossy: bool = False
    has_lossless: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    plugin: str | None = None
    holds: tuple[str, ...] = ("exif", "xmp", "profile")


FORMATS = {
    "png": OutputFormat("PNG", (".png",)),
    "jpeg": OutputFormat("JPEG", (".jpg", ".jpeg", ".jpe"), True, options={"subsampling": 0, "optimize": True}),
    "webp": OutputFormat("WEBP", (".webp",), True, True, {"method": 4}),
    "avif": OutputFormat("AVIF", (".avif",), True, options={"subsampling": "4:4:4"}),
    "jxl": OutputFormat(
        "JXL", (".jxl",), True, True, {"use_container": True}, plugin="pillow_jxl", holds=("exif", "xmp")
    ),
    "tiff": OutputFormat("TIFF", (".tif", ".tiff"), options={"compression": "tiff_adobe_deflate"}),
    "ppm": OutputFormat("PPM", (".ppm", ".pgm", ".pnm"), holds=()),
}


@dataclass(frozen=True)
class OutputSettings:
    """Settings of a written picture.

    Attributes:
        format: key of `FORMATS`.
        quality: 1 to 100 of a lossy format; None is 95.
        lossless: whether a format that has a lossless mode uses it.
        options: further options of Pillow for the format, by name.

    Raises:
        ConfigError: a format that is unknown, or lacks what is asked for.
    """

    format: str = "png"
    quality: int | None = None
    lossless: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ConfigError(f"format {self.format!r}: choose one of {', '.join(FORMATS)}")
        chosen = FORMATS[self.format]
        if self.quality is not None and (not chosen.is_lossy or self.lossless):
            lossy = ", ".join(name for name, each in FORMATS.items() if each.is_lossy)
            raise ConfigError(f"quality {self.quality}: {self.format} loses nothing; {lossy} have a quality")
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise ConfigError(f"quality {self.quality}: must lie between 1 and 100")
        if self.lossless and not chosen.has_lossless and chosen.is_lossy:
            raise ConfigError(f"lossless: {self.format} has no such mode here; png, webp, jxl and tiff have")


class _Text(str):
    """Text of EXIF that is written with the bytes that it was read from, which Pillow takes for Latin-1 and ASCII."""

    def encode(self, encoding: str = "", errors: str = "") -> bytes:  # noqa: ARG002  (Pillow passes them)
        """Return the bytes."""
        return super().encode("latin-1")


def format_of(path: Path) -> str | None:
    """Return the name of the format that a file's suffix asks for, None where it is not one of `FORMATS`."""
    return next((name for name, each in FORMATS.items() if path.suffix.lower() in each.suffixes), None)


def write_picture(pixels: Pixels, metadata: Metadata = NOTHING, settings: OutputSettings = OutputSettings()) -> bytes:
    """Return the bytes of a picture's file, with as much of the metadata as the format holds.

    Pixels with a profile for which the format has no place are converted to sRGB.

    Raises:
        ImageError: a plugin is missing, or the format refuses the picture or an option.
    """
    chosen = FORMATS[settings.format]
    if chosen.plugin:
        try:
            importlib.import_module(chosen.plugin)
        except ImportError as error:
            raise ImageError(
                f'{settings.format} is written by the extra `formats`: pip install ".[formats]"'
            ) from error
    if metadata.profile and "profile" not in chosen.holds:
        pixels = convert_by_profile(pixels, metadata.profile)
        metadata = replace(metadata, profile=b"")
    options = {**chosen.options, **_quality(chosen, settings), **_places(chosen, metadata), **settings.options}
    return write_as(pixels, chosen.kind, options)


def _quality(chosen: OutputFormat, settings: OutputSettings) -> dict[str, Any]:
    if not chosen.is_lossy:
        return {}
    if settings.lossless:
        return {"lossless": True}
    return {"quality": QUALITY if settings.quality is None else settings.quality}


def _places(chosen: OutputFormat, metadata: Metadata) -> dict[str, Any]:
    """Return the options by which Pillow writes metadata in a format.

    Raises:
        ImageError: more than a JPEG segment holds.
    """
    found: dict[str, Any] = {"icc_profile": metadata.profile} if metadata.profile else {}
    if chosen.kind == "JPEG" and max(len(metadata.exif), len(metadata.xmp)) > _JPEG_SEGMENT_MAX:
        raise ImageError("JPEG holds no metadata of over 64 KiB: pass --metadata drop, or choose another format")
    if chosen.kind == "TIFF":  # whose tags they are
        block = Image.Exif()
        block.load(exif.PREFIX + metadata.exif if metadata.exif else b"")
        for folder in (block, *(block.get_ifd(tag) for tag in _FOLDER_TAGS if tag in block)):
            folder.update({tag: _Text(value) for tag, value in folder.items() if isinstance(value, str)})
        if metadata.xmp:
            block[_XMP_TAG] = metadata.xmp
        plain = {"compression": None} if any(tag in block for tag in _FOLDER_TAGS) else {}  # libtiff writes no folders
        return {**found, **plain, "exif": block} if len(block) else found
    if metadata.exif and "exif" in chosen.holds:
        found["exif"] = exif.PREFIX + metadata.exif
    if metadata.xmp and chosen.kind == "PNG":
        texts = PngImagePlugin.PngInfo()
        texts.add_itxt(_XMP_KEYWORD, metadata.xmp.decode("utf-8", "replace"))
        found["pnginfo"] = texts
    elif metadata.xmp and "xmp" in chosen.holds:
        found["xmp"] = metadata.xmp
    return found
